//! Output options: format, archive, compression, time format, resampling.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::TimeRange;

/// Version of the bytes that exports write: raise it whenever the same data and the same request
/// give other bytes.
///
/// It is part of every [`ShareKey`](crate::sharing::ShareKey), so results of another version are
/// never shared.
pub const RESULT_FORMAT_VERSION: u32 = 1;

/// Longest interval of a resampled export, in milliseconds: the length of the longest possible
/// range.
pub const LONGEST_STEP_MS: u64 = (TimeRange::MAX_MS - TimeRange::MIN_MS).unsigned_abs();

/// A text that is not a value of the option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {expected}")]
pub struct UnknownValue {
    /// The option's values, separated by commas.
    pub expected: String,
}

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
    /// Whether strings that a spreadsheet would interpret as a formula are prefixed with `'`.
    CsvGuard {
        /// They are prefixed.
        #[default]
        On = "on",
        /// They are written unchanged.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resampling {
    /// Length of an interval in milliseconds.
    pub step_ms: NonZeroU64,
    /// The value of an interval without a point.
    pub fill: Fill,
}

impl Resampling {
    /// Number of intervals of a range, including a shorter last one: the most rows of a vehicle.
    pub fn interval_count(self, range: TimeRange) -> u64 {
        range.to_ms().abs_diff(range.from_ms()).div_ceil(self.step_ms.get())
    }
}

/// The options of a result: everything except the data it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// One row per interval; `None`: one row per time of a point.
    pub resampling: Option<Resampling>,
}

/// The options that apply to the format and the archive. Manifests and responses leave out the
/// others.
impl OutputOptions {
    /// How the objects are compressed; `None` where there are no CSV objects.
    pub fn object_compression(&self) -> Option<Compression> {
        (self.format == Format::Csv && self.archive == Archive::None).then_some(self.compression)
    }

    /// How a CSV writes times; `None` where there is no CSV.
    pub fn csv_time_format(&self) -> Option<TimeFormat> {
        (self.format == Format::Csv).then_some(self.time_format)
    }

    /// Whether a CSV guards strings against formulas; `None` where there is no CSV.
    pub fn csv_formula_guard(&self) -> Option<CsvGuard> {
        (self.format == Format::Csv).then_some(self.csv_guard)
    }

    /// Length of an interval in milliseconds; `None` where the export is not resampled.
    pub fn step_ms(&self) -> Option<NonZeroU64> {
        self.resampling.map(|resampling| resampling.step_ms)
    }

    /// The value of intervals without a point; `None` where the export is not resampled.
    pub fn fill(&self) -> Option<Fill> {
        self.resampling.map(|resampling| resampling.fill)
    }

    /// Name of a vehicle's file: the vehicle's name and the extension of format and compression.
    pub fn file_name(&self, vehicle: &crate::VehicleId) -> String {
        let extension = match (self.format, self.archive, self.compression) {
            (Format::Parquet, _, _) => "parquet",
            (Format::Csv, Archive::Zip, _) | (Format::Csv, Archive::None, Compression::None) => "csv",
            (Format::Csv, Archive::None, Compression::Gzip) => "csv.gz",
            (Format::Csv, Archive::None, Compression::Zstd) => "csv.zst",
        };
        format!("{vehicle}.{extension}")
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
        let error = "xz".parse::<Compression>().expect_err("not a compression");
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
    fn options_that_do_not_apply_are_none() {
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
    fn file_names_show_format_and_compression() {
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
