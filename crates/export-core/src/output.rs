//! Output options: format, archive, compression, time format, resampling.
//!
//! An option is a field of [`OutputOptions`] and an entry of [`OPTIONS`]. Everything else follows
//! from these two: the fields of requests, jobs, manifests, stored documents and share keys, the
//! flags of the command line, and the `OpenAPI` description.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::TimeRange;

/// Version of the bytes that exports write: raise it whenever the same data and the same request
/// give other bytes.
///
/// It is part of every [`ShareKey`](crate::sharing::ShareKey), so results of another version are
/// never shared.
pub const RESULT_FORMAT_VERSION: u32 = 5;

/// Longest interval of a resampled export, in milliseconds: the length of the longest possible
/// range.
pub const LONGEST_STEP_MS: u64 = (TimeRange::MAX_MS - TimeRange::MIN_MS).unsigned_abs();

/// Declares an option whose values have names in JSON, on the command line and in the job document.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$value_doc])* #[serde(rename = $text)] $value,)+
        }

        impl $name {
            /// All values, the default first.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];
            /// The names of all values, the default first.
            const NAMES: Values = Values::OneOf(&[$($text),+]);
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $text,)+
                })
            }
        }
    };
}

choice!(
    /// How rows are written.
    Format {
        /// CSV text.
        #[default]
        Csv = "csv",
        /// Apache Parquet.
        Parquet = "parquet",
    }
);

choice!(
    /// How the files of an export are packed.
    Archive {
        /// One zip with a file per vehicle and the manifest.
        #[default]
        Zip = "zip",
        /// One object per vehicle and the manifest, under one prefix.
        None = "none",
    }
);

choice!(
    /// How the CSV objects of an [`Archive::None`] are compressed.
    Compression {
        /// `.csv.gz`
        #[default]
        Gzip = "gzip",
        /// `.csv.zst`
        Zstd = "zstd",
        /// `.csv`
        None = "none",
    }
);

choice!(
    /// How times are written in a CSV.
    TimeFormat {
        /// Unix milliseconds.
        #[default]
        UnixMs = "unix_ms",
        /// RFC 3339 with milliseconds, in the request's zone, with its offset.
        Rfc3339 = "rfc3339",
    }
);

choice!(
    /// Whether strings that a spreadsheet would interpret as a formula get a `'`.
    CsvGuard {
        /// They get it.
        #[default]
        On = "on",
        /// They do not.
        Off = "off",
    }
);

choice!(
    /// The value of an interval without a point.
    Fill {
        /// An empty cell.
        #[default]
        None = "none",
        /// The last known value.
        Previous = "previous",
    }
);

/// One row per interval instead of one per point.
///
/// Interval k covers `[from + k·step, from + (k+1)·step)`. The time of its row is the interval's
/// start, and each cell holds the parameter's last point in the interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// Length of an interval in milliseconds.
    pub step_ms: NonZeroU64,
    /// The value of an interval without a point.
    pub fill: Fill,
    /// Greatest age of a previous value, in milliseconds, at the end of the interval that it fills;
    /// `None`: any age.
    pub fill_limit_ms: Option<NonZeroU64>,
}

impl Resampling {
    /// Number of intervals of a range, including a shorter last one: the most rows of a vehicle.
    pub fn interval_count(self, range: TimeRange) -> u64 {
        range.to_ms().abs_diff(range.from_ms()).div_ceil(self.step_ms.get())
    }
}

/// The options of a result: everything except the data it holds.
///
/// Serialized they are the fields of a stored job: all options, even ones without effect, because
/// a job must not change when a default changes. Jobs of earlier versions lack options and get what
/// was then the only behaviour, the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutputOptions {
    /// How rows are written.
    pub format: Format,
    /// How the files are packed.
    pub archive: Archive,
    /// How objects are compressed. Only used for CSVs with [`Archive::None`].
    pub compression: Compression,
    /// How a CSV writes times.
    pub time_format: TimeFormat,
    /// Whether a CSV guards strings against formulas.
    pub csv_guard: CsvGuard,
    /// Length of an interval in milliseconds; `None`: one row per time of a point.
    pub step_ms: Option<NonZeroU64>,
    /// The value of an interval without a point. Present exactly with `step_ms`.
    pub fill: Option<Fill>,
    /// Greatest age in milliseconds of a value that fills an interval; `None`: any age.
    pub fill_limit_ms: Option<NonZeroU64>,
}

/// The description of one field of [`OutputOptions`].
#[derive(Clone, Copy, Debug)]
pub struct OutputOption {
    /// Its name in requests, jobs, manifests and stored documents.
    pub name: &'static str,
    /// Its flag on the command line, without `--`.
    pub flag: &'static str,
    /// What it decides, for people.
    pub about: &'static str,
    /// Its values in a request.
    pub values: Values,
    /// The conditions without which it has no effect.
    needs: &'static [Need],
}

/// The values of an option.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these names. The first is the default.
    OneOf(&'static [&'static str]),
    /// A whole number of milliseconds from 1 to [`LONGEST_STEP_MS`]. By default there is none.
    Milliseconds,
}

/// A condition without which an option has no effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The option that decides it.
    pub(crate) option: &'static str,
    /// Whether it holds.
    pub(crate) is_met: fn(&OutputOptions) -> bool,
    /// Why a request that gives the option without it is refused.
    pub(crate) otherwise: &'static str,
}

/// All options, in the order of their fields.
pub const OPTIONS: [OutputOption; 8] = [
    OutputOption {
        name: "format",
        flag: "format",
        about: "Format of the files",
        values: Format::NAMES,
        needs: &[],
    },
    OutputOption {
        name: "archive",
        flag: "archive",
        about: "Archive of the files; none: one file per vehicle, and manifest.json",
        values: Archive::NAMES,
        needs: &[],
    },
    OutputOption {
        name: "compression",
        flag: "compression",
        about: "Compression of CSV files without an archive",
        values: Compression::NAMES,
        needs: &[
            csv("means nothing for parquet, which compresses its columns itself; leave it out"),
            Need {
                option: "archive",
                is_met: |output| output.archive == Archive::None,
                otherwise: "means nothing in a zip, which compresses its entries itself; leave it out, or ask for \"archive\": \"none\"",
            },
        ],
    },
    OutputOption {
        name: "timeFormat",
        flag: "time-format",
        about: "Format of times in CSV files",
        values: TimeFormat::NAMES,
        needs: &[csv("means nothing for parquet, whose times are timestamps; leave it out")],
    },
    OutputOption {
        name: "csvGuard",
        flag: "csv-guard",
        about: "Whether strings in CSV files that a spreadsheet would run as formulas get a ' in front",
        values: CsvGuard::NAMES,
        needs: &[csv("means nothing for parquet, which no spreadsheet takes for formulas; leave it out")],
    },
    OutputOption {
        name: "stepMs",
        flag: "step-ms",
        about: "Resampling: one row per interval of this many milliseconds",
        values: Values::Milliseconds,
        needs: &[],
    },
    OutputOption {
        name: "fill",
        flag: "fill",
        about: "Content of resampled intervals without points: nothing, or the previous value",
        values: Fill::NAMES,
        needs: &[Need {
            option: "stepMs",
            is_met: |output| output.step_ms.is_some(),
            otherwise: "means nothing without stepMs, the length of the intervals to fill; add it, or leave fill out",
        }],
    },
    OutputOption {
        name: "fillLimitMs",
        flag: "fill-limit-ms",
        about: "Most milliseconds after its point that a value is repeated with fill previous; later intervals are blank",
        values: Values::Milliseconds,
        needs: &[Need {
            option: "fill",
            is_met: |output| output.step_ms.is_some() && output.fill == Some(Fill::Previous),
            otherwise: "means nothing without \"fill\": \"previous\" (and stepMs), which it limits; add it, or leave fillLimitMs out",
        }],
    },
];

/// The need for a CSV.
const fn csv(otherwise: &'static str) -> Need {
    Need { option: "format", is_met: |output| output.format == Format::Csv, otherwise }
}

impl OutputOption {
    /// The name of its default, if it has one.
    pub fn default_name(&self) -> Option<&'static str> {
        match self.values {
            Values::OneOf(names) => names.first().copied(),
            Values::Milliseconds => None,
        }
    }

    /// Whether it has a value in every job.
    pub fn always_applies(&self) -> bool {
        self.needs.is_empty() && self.default_name().is_some()
    }

    /// The conditions that the options do not meet.
    pub(crate) fn unmet(&self, output: &OutputOptions) -> impl Iterator<Item = &'static Need> {
        self.needs.iter().filter(|need| !(need.is_met)(output))
    }
}

impl Values {
    /// Whether a request may have this value.
    pub(crate) fn contain(self, value: &Value) -> bool {
        match self {
            Self::OneOf(names) => value.as_str().is_some_and(|text| names.contains(&text)),
            Self::Milliseconds => value.as_u64().is_some_and(|ms| (1..=LONGEST_STEP_MS).contains(&ms)),
        }
    }

    /// What a request with another value should have.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::OneOf(names) => format!("expected one of {}", names.join(", ")),
            Self::Milliseconds => format!(
                "expected a whole number of milliseconds from 1 to {LONGEST_STEP_MS}, such as 60000 for a minute"
            ),
        }
    }
}

impl OutputOptions {
    /// The resampling; `None`: one row per time of a point.
    pub fn resampling(&self) -> Option<Resampling> {
        self.step_ms.map(|step_ms| Resampling {
            step_ms,
            fill: self.fill.unwrap_or_default(),
            fill_limit_ms: self.fill_limit_ms,
        })
    }

    /// The fields of a stored job, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'static OutputOption, Value)> + use<> {
        let mut values: Map<String, Value> = match serde_json::to_value(self) {
            Ok(Value::Object(values)) => values,
            other => unreachable!("options become an object, not {other:?}"),
        };
        OPTIONS.iter().map(move |option| (option, values.remove(option.name).unwrap_or_default()))
    }

    /// Serializes the fields of a job for clients: an option without effect is null.
    pub fn serialize_or_null<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.effective())
    }

    /// Serializes the fields of a manifest: options without effect are left out.
    pub fn serialize_effective<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.effective().filter(|(_, value)| !value.is_null()))
    }

    fn effective(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.fields().map(|(option, value)| {
            let has_effect = option.unmet(self).next().is_none();
            (option.name, if has_effect { value } else { Value::Null })
        })
    }

    /// Extension of the vehicles' files, by format and compression.
    pub fn extension(&self) -> &'static str {
        match (self.format, self.archive, self.compression) {
            (Format::Parquet, _, _) => "parquet",
            (Format::Csv, Archive::Zip, _) | (Format::Csv, Archive::None, Compression::None) => "csv",
            (Format::Csv, Archive::None, Compression::Gzip) => "csv.gz",
            (Format::Csv, Archive::None, Compression::Zstd) => "csv.zst",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_described() {
        let described: Vec<_> = OPTIONS.iter().map(|option| option.name).collect();
        let text = serde_json::to_string(&OutputOptions::default()).expect("JSON");
        let names: Vec<_> = text.split('"').filter(|name| described.contains(name)).collect();
        assert_eq!(names, described, "{text}");
        let fields: Map<String, Value> = serde_json::from_str(&text).expect("an object");
        assert_eq!(fields.len(), OPTIONS.len());
        for option in OPTIONS {
            let Values::OneOf(names) = option.values else { continue };
            for name in names {
                let field = Map::from_iter([(option.name.to_owned(), Value::from(*name))]);
                let read: OutputOptions = serde_json::from_value(field.into()).expect("a value");
                assert!(read.fields().any(|(found, value)| found.name == option.name && value == **name));
            }
            let first = OutputOptions::default().fields().find(|(found, _)| found.name == option.name);
            let default = first.expect("a field").1;
            assert!(default.is_null() || default.as_str() == option.default_name(), "{option:?}");
        }
    }

    #[test]
    fn the_last_interval_may_be_cut_short() {
        let count = |from_ms, to_ms, step_ms| {
            let range = TimeRange::new(from_ms, to_ms).expect("a range");
            let step_ms = NonZeroU64::new(step_ms).expect("a step");
            Resampling { step_ms, fill: Fill::None, fill_limit_ms: None }.interval_count(range)
        };
        assert_eq!([count(0, 10, 5), count(0, 11, 5), count(-3, 3, 1), count(0, 10, 999)], [2, 3, 6, 1]);
        assert_eq!(count(TimeRange::MIN_MS, TimeRange::MAX_MS, 1), LONGEST_STEP_MS);
        assert_eq!(count(TimeRange::MIN_MS, TimeRange::MAX_MS, LONGEST_STEP_MS), 1);
    }

    #[test]
    fn options_without_effect_are_null_or_left_out() {
        let or_null = |output: OutputOptions| output.serialize_or_null(serde_json::value::Serializer);
        let effective = |output: OutputOptions| output.serialize_effective(serde_json::value::Serializer);
        let zip = json!({ "format": "csv", "archive": "zip", "timeFormat": "unix_ms", "csvGuard": "on" });
        assert_eq!(effective(OutputOptions::default()).expect("JSON"), zip);
        let csv_objects = OutputOptions { archive: Archive::None, ..OutputOptions::default() };
        assert_eq!(or_null(csv_objects).expect("JSON")["compression"], "gzip");
        let parquet = OutputOptions { format: Format::Parquet, ..csv_objects };
        let fields = json!({
            "format": "parquet", "archive": "none", "compression": null, "timeFormat": null, "csvGuard": null,
            "stepMs": null, "fill": null, "fillLimitMs": null,
        });
        assert_eq!(or_null(parquet).expect("JSON"), fields);
        assert_eq!(effective(parquet).expect("JSON"), json!({ "format": "parquet", "archive": "none" }));
    }

    #[test]
    fn extensions_show_format_and_compression() {
        let extension = |format, archive, compression| {
            OutputOptions { format, archive, compression, ..OutputOptions::default() }.extension()
        };
        assert_eq!(extension(Format::Csv, Archive::Zip, Compression::Gzip), "csv");
        assert_eq!(extension(Format::Csv, Archive::None, Compression::Gzip), "csv.gz");
        assert_eq!(extension(Format::Csv, Archive::None, Compression::Zstd), "csv.zst");
        assert_eq!(extension(Format::Csv, Archive::None, Compression::None), "csv");
        assert_eq!(extension(Format::Parquet, Archive::None, Compression::Gzip), "parquet");
    }
}
