//! Output options, in the oracle's own types.

use clap::ValueEnum;

/// All options of an export except its data. The default is a zip of plain CSVs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceOptions {
    /// How rows are written.
    pub format: ReferenceFormat,
    /// The packaging of the files.
    pub archive: ReferenceArchive,
    /// How CSVs that are separate objects are compressed; otherwise ignored.
    pub compression: ReferenceCompression,
    /// How a CSV writes times.
    pub time_format: ReferenceTimeFormat,
    /// IANA name of the zone of RFC 3339 times.
    pub timezone: String,
    /// Whether a CSV's strings are guarded against interpretation as formulas.
    pub guard: bool,
    /// Length of an interval in milliseconds, at least 1; `None` is one row per point.
    pub step_ms: Option<u64>,
    /// Whether an interval shows the last known value. Ignored without a step.
    pub fill_previous: bool,
}

impl Default for ReferenceOptions {
    fn default() -> Self {
        Self {
            format: ReferenceFormat::Csv,
            archive: ReferenceArchive::Zip,
            compression: ReferenceCompression::Gzip,
            time_format: ReferenceTimeFormat::UnixMs,
            timezone: "UTC".to_owned(),
            guard: true,
            step_ms: None,
            fill_previous: false,
        }
    }
}

impl ReferenceOptions {
    /// Name of a vehicle's file.
    pub fn file_name(&self, database: &str) -> String {
        let ending = match (self.format, self.packed_as()) {
            (ReferenceFormat::Parquet, _) => "parquet",
            (ReferenceFormat::Csv, ReferenceCompression::None) => "csv",
            (ReferenceFormat::Csv, ReferenceCompression::Gzip) => "csv.gz",
            (ReferenceFormat::Csv, ReferenceCompression::Zstd) => "csv.zst",
        };
        format!("{database}.{ending}")
    }

    /// The compression of a single file of this export: only CSVs outside of a zip have one.
    pub fn packed_as(&self) -> ReferenceCompression {
        match (self.format, self.archive) {
            (ReferenceFormat::Csv, ReferenceArchive::None) => self.compression,
            _ => ReferenceCompression::None,
        }
    }
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferenceFormat {
    /// Text.
    Csv,
    /// Columns.
    Parquet,
}

/// The packaging of an export's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferenceArchive {
    /// One zip.
    Zip,
    /// A separate file for each vehicle, and one for the manifest.
    None,
}

/// How a CSV that is an object is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferenceCompression {
    /// `.csv.gz`
    Gzip,
    /// `.csv.zst`
    Zstd,
    /// `.csv`
    None,
}

/// How a CSV writes times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferenceTimeFormat {
    /// Unix milliseconds.
    #[value(name = "unix_ms")]
    UnixMs,
    /// RFC 3339 in the request's zone.
    #[value(name = "rfc3339")]
    Rfc3339,
}

impl ReferenceFormat {
    /// The name in requests and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

impl ReferenceArchive {
    /// The name in requests and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::None => "none",
        }
    }
}

impl ReferenceCompression {
    /// The name in requests and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        }
    }
}

impl ReferenceTimeFormat {
    /// The name in requests and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnixMs => "unix_ms",
            Self::Rfc3339 => "rfc3339",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_what_it_is() {
        let name = |format, archive, compression| {
            ReferenceOptions { format, archive, compression, ..ReferenceOptions::default() }.file_name("v")
        };
        let (csv, parquet) = (ReferenceFormat::Csv, ReferenceFormat::Parquet);
        let (zip, none) = (ReferenceArchive::Zip, ReferenceArchive::None);
        assert_eq!(name(csv, zip, ReferenceCompression::Gzip), "v.csv");
        assert_eq!(name(csv, none, ReferenceCompression::Gzip), "v.csv.gz");
        assert_eq!(name(csv, none, ReferenceCompression::Zstd), "v.csv.zst");
        assert_eq!(name(csv, none, ReferenceCompression::None), "v.csv");
        assert_eq!(name(parquet, zip, ReferenceCompression::Zstd), "v.parquet");
        assert_eq!(name(parquet, none, ReferenceCompression::Zstd), "v.parquet");
    }
}
