//! What a result looks like: format, archive, compression, the text of times, resampling.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::TimeRange;

/// Longest interval of a resampled export, in milliseconds: the widest range there is. A longer one would say nothing more.
pub const LONGEST_STEP_MS: u64 = (TimeRange::MAX_MS - TimeRange::MIN_MS).unsigned_abs();

/// A text that is none of an option's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {expected}")]
pub struct UnknownValue {
    /// The values there are, as a list for people.
    pub expected: String,
}

/// An option with a handful of values that have names in JSON, on the command line and in the job document.
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

            /// The value's name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownValue;

            fn from_str(text: &str) -> Result<Self, UnknownValue> {
                let found = Self::ALL.iter().find(|value| value.as_str() == text);
                found.copied().ok_or_else(|| UnknownValue { expected: [$($text),+].join(", ") })
            }
        }
    };
}

choice!(
    /// How rows are written.
    Format {
        /// Text that spreadsheets open.
        #[default]
        Csv = "csv",
        /// Columns for analysis tools.
        Parquet = "parquet",
    }
);

choice!(
    /// What the files of an export are packed into.
    Archive {
        /// One zip with a file per vehicle and the manifest.
        #[default]
        Zip = "zip",
        /// One object per vehicle under a prefix, and the manifest beside them.
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
    /// Whether strings that a spreadsheet would take for a formula get a `'` in front.
    CsvGuard {
        /// They do.
        #[default]
        On = "on",
        /// They are written as they are.
        Off = "off",
    }
);

choice!(
    /// What an interval without a point shows.
    Fill {
        /// A blank.
        #[default]
        None = "none",
        /// The last value known.
        Previous = "previous",
    }
);

/// One row per interval instead of one per point.
///
/// Interval k covers `[from + k·step, from + (k+1)·step)`; its row has its start as time, and each parameter's last point
/// in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resampling {
    /// Length of an interval in milliseconds.
    pub step_ms: NonZeroU64,
    /// What an interval without a point shows.
    pub fill: Fill,
}

impl Resampling {
    /// Intervals of a range, the last of which may be cut short: the rows of a vehicle where every interval has one.
    pub fn interval_count(self, range: TimeRange) -> u64 {
        range.to_ms().abs_diff(range.from_ms()).div_ceil(self.step_ms.get())
    }
}

/// Everything about a result that is not which data it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// How rows are written.
    pub format: Format,
    /// What the files are packed into.
    pub archive: Archive,
    /// How objects are compressed. Means something for CSVs with [`Archive::None`] only.
    pub compression: Compression,
    /// How a CSV writes times.
    pub time_format: TimeFormat,
    /// Whether a CSV guards against formulas.
    pub csv_guard: CsvGuard,
    /// One row per interval, if asked for.
    pub resampling: Option<Resampling>,
}

/// What an option is where it has a meaning; manifests and answers leave it out elsewhere.
impl OutputOptions {
    /// How the objects are compressed; `None` where there are no CSV objects.
    pub fn object_compression(&self) -> Option<Compression> {
        (self.format == Format::Csv && self.archive == Archive::None).then_some(self.compression)
    }

    /// How a CSV writes times; `None` where there is no CSV.
    pub fn csv_time_format(&self) -> Option<TimeFormat> {
        (self.format == Format::Csv).then_some(self.time_format)
    }

    /// Whether a CSV guards against formulas; `None` where there is no CSV.
    pub fn csv_formula_guard(&self) -> Option<CsvGuard> {
        (self.format == Format::Csv).then_some(self.csv_guard)
    }

    /// Length of an interval in milliseconds; `None` where the export is not resampled.
    pub fn step_ms(&self) -> Option<NonZeroU64> {
        self.resampling.map(|resampling| resampling.step_ms)
    }

    /// What intervals without a point show; `None` where the export is not resampled.
    pub fn fill(&self) -> Option<Fill> {
        self.resampling.map(|resampling| resampling.fill)
    }

    /// Name of a vehicle's file: its name and what the format and the compression add.
    pub fn file_name(&self, vehicle: &crate::VehicleId) -> String {
        let ending = match (self.format, self.archive, self.compression) {
            (Format::Parquet, _, _) => "parquet",
            (Format::Csv, Archive::Zip, _) | (Format::Csv, Archive::None, Compression::None) => "csv",
            (Format::Csv, Archive::None, Compression::Gzip) => "csv.gz",
            (Format::Csv, Archive::None, Compression::Zstd) => "csv.zst",
        };
        format!("{vehicle}.{ending}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        for value in TimeFormat::ALL {
            assert_eq!(value.as_str().parse(), Ok(*value));
        }
        assert_eq!(Fill::default(), Fill::None);
        let error = "xz".parse::<Compression>().expect_err("no compression of ours");
        assert_eq!(error.to_string(), "expected one of gzip, zstd, none");
    }

    #[test]
    fn the_last_interval_may_be_cut_short() {
        let count = |from_ms, to_ms, step_ms| {
            let range = TimeRange::new(from_ms, to_ms).expect("a range");
            let step_ms = NonZeroU64::new(step_ms).expect("a step");
            Resampling { step_ms, fill: Fill::None }.interval_count(range)
        };
        assert_eq!([count(0, 10, 5), count(0, 11, 5), count(-3, 3, 1), count(0, 10, 999)], [2, 3, 6, 1]);
        assert_eq!(count(TimeRange::MIN_MS, TimeRange::MAX_MS, 1), LONGEST_STEP_MS);
        assert_eq!(count(TimeRange::MIN_MS, TimeRange::MAX_MS, LONGEST_STEP_MS), 1);
    }

    #[test]
    fn options_without_a_meaning_are_not_told() {
        let csv_objects = OutputOptions { archive: Archive::None, ..OutputOptions::default() };
        assert_eq!(csv_objects.object_compression(), Some(Compression::Gzip));
        let zip = OutputOptions::default();
        assert_eq!(zip.object_compression(), None);
        assert_eq!(
            (zip.csv_time_format(), zip.csv_formula_guard()),
            (Some(TimeFormat::UnixMs), Some(CsvGuard::On))
        );
        assert_eq!((zip.step_ms(), zip.fill()), (None, None));
        let parquet = OutputOptions { format: Format::Parquet, ..csv_objects };
        assert_eq!(parquet.object_compression(), None);
        assert_eq!((parquet.csv_time_format(), parquet.csv_formula_guard()), (None, None));
    }

    #[test]
    fn files_are_named_after_what_they_are() {
        let vehicle = "vehicle_001".parse().expect("a name");
        let name = |format, archive, compression| {
            OutputOptions { format, archive, compression, ..OutputOptions::default() }.file_name(&vehicle)
        };
        assert_eq!(name(Format::Csv, Archive::Zip, Compression::Gzip), "vehicle_001.csv");
        assert_eq!(name(Format::Csv, Archive::None, Compression::Gzip), "vehicle_001.csv.gz");
        assert_eq!(name(Format::Csv, Archive::None, Compression::Zstd), "vehicle_001.csv.zst");
        assert_eq!(name(Format::Csv, Archive::None, Compression::None), "vehicle_001.csv");
        assert_eq!(name(Format::Parquet, Archive::None, Compression::Gzip), "vehicle_001.parquet");
    }
}
