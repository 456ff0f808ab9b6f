//! Output options, in the oracle's own types, and how tests generate them.

use chrono_tz::Tz;
use clap::ValueEnum;
use proptest::bool::weighted;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const DAY_MS: u64 = 86_400_000;

/// All options of an export except its data, as flags with the names and defaults of a request. The
/// default is a zip of plain CSVs.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ReferenceOptions {
    /// How rows are written.
    #[arg(long, value_enum, default_value = "csv")]
    pub format: ReferenceFormat,
    /// The packaging of the files.
    #[arg(long, value_enum, default_value = "zip")]
    pub archive: ReferenceArchive,
    /// How CSVs that are separate objects are compressed; otherwise ignored.
    #[arg(long, value_enum, default_value = "gzip")]
    pub compression: ReferenceCompression,
    /// How a CSV writes times.
    #[arg(long, value_enum, default_value = "unix_ms")]
    pub time_format: ReferenceTimeFormat,
    /// IANA name of the zone of RFC 3339 times.
    #[arg(long, default_value = "UTC", value_parser = zone)]
    pub timezone: String,
    /// A CSV's strings are not guarded against interpretation as formulas.
    #[arg(long = "without-csv-guard", action = clap::ArgAction::SetFalse)]
    pub guard: bool,
    /// Length of an interval in milliseconds, at least 1; without it one row per point.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub step_ms: Option<u64>,
    /// An interval shows the last known value. Ignored without a step.
    #[arg(long, requires = "step_ms")]
    pub fill_previous: bool,
    /// Most age in milliseconds of a value that is filled in; without it any age. Ignored unless
    /// intervals are filled.
    #[arg(long, requires = "fill_previous", value_parser = clap::value_parser!(u64).range(1..))]
    pub fill_limit_ms: Option<u64>,
}

fn zone(text: &str) -> Result<String, String> {
    let zone: Result<Tz, _> = text.parse();
    zone.map(|zone| zone.name().to_owned()).map_err(|_| "no IANA time zone".to_owned())
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
            fill_limit_ms: None,
        }
    }
}

impl ReferenceOptions {
    /// The options that have an effect, as fields of a request and of a manifest.
    pub fn fields(&self) -> Map<String, Value> {
        let is_csv = self.format == ReferenceFormat::Csv;
        let is_object = self.archive == ReferenceArchive::None;
        let guard = if self.guard { "on" } else { "off" };
        let fill = if self.fill_previous { "previous" } else { "none" };
        let fields = [
            ("timezone", Some(json!(self.timezone))),
            ("format", name(&self.format)),
            ("archive", name(&self.archive)),
            ("compression", name(&self.compression).filter(|_| is_csv && is_object)),
            ("timeFormat", name(&self.time_format).filter(|_| is_csv)),
            ("csvGuard", is_csv.then(|| json!(guard))),
            ("stepMs", self.step_ms.map(Value::from)),
            ("fill", self.step_ms.map(|_| json!(fill))),
            ("fillLimitMs", self.fill_limit_ms.map(Value::from)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Name of a vehicle's file, by its name without the ending.
    pub fn file_name(&self, stem: &str) -> String {
        let ending = match (self.format, self.packed_as()) {
            (ReferenceFormat::Parquet, _) => "parquet",
            (ReferenceFormat::Csv, ReferenceCompression::None) => "csv",
            (ReferenceFormat::Csv, ReferenceCompression::Gzip) => "csv.gz",
            (ReferenceFormat::Csv, ReferenceCompression::Zstd) => "csv.zst",
        };
        format!("{stem}.{ending}")
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

/// The name of a value in requests and manifests.
fn name(value: &impl ValueEnum) -> Option<Value> {
    value.to_possible_value().map(|value| value.get_name().into())
}

/// Plain CSVs in a zip in nearly half of the cases.
pub(crate) fn generated_options() -> impl Strategy<Value = ReferenceOptions> {
    prop_oneof![45 => Just(ReferenceOptions::default()), 55 => any_options()]
}

fn any_options() -> impl Strategy<Value = ReferenceOptions> {
    let format = prop_oneof![3 => Just(ReferenceFormat::Csv), 2 => Just(ReferenceFormat::Parquet)];
    let archive = prop_oneof![1 => Just(ReferenceArchive::Zip), 1 => Just(ReferenceArchive::None)];
    let compression =
        select(vec![ReferenceCompression::Gzip, ReferenceCompression::Zstd, ReferenceCompression::None]);
    let time_format =
        prop_oneof![1 => Just(ReferenceTimeFormat::UnixMs), 2 => Just(ReferenceTimeFormat::Rfc3339)];
    let timezone = select(vec![
        "UTC",
        "Europe/Amsterdam",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Africa/Monrovia",
    ]);
    let resampling =
        (option::weighted(0.6, step_ms()), any::<bool>(), option::weighted(0.6, fill_limit_ms()));
    (format, archive, compression, time_format, timezone, weighted(0.7), resampling).prop_map(
        |(format, archive, compression, time_format, timezone, guard, (step_ms, fill, fill_limit_ms))| {
            let fill_previous = fill && step_ms.is_some();
            ReferenceOptions {
                format,
                archive,
                compression,
                time_format,
                timezone: timezone.to_owned(),
                guard,
                step_ms,
                fill_previous,
                fill_limit_ms: fill_limit_ms.filter(|_| fill_previous),
            }
        },
    )
}

/// Limits near the generated steps and distances of points.
fn fill_limit_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => select(vec![1, 99, 100, 200, 300, 1_000, 5_000, 10_000, 60_000, 120_000]),
        3 => 1_u64..60_000,
        2 => select(vec![3_600_000, 3_600_001, 7_200_000, 2 * DAY_MS]),
        1 => select(vec![u64::MAX, i64::MAX.unsigned_abs()]),
    ]
}

fn step_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => select(vec![1, 2, 7, 100, 250, 999, 1_000, 10_000, 60_000]),
        3 => 1_u64..30_000,
        2 => select(vec![900_000, 3_600_000, 3_600_001, 7_200_000, DAY_MS, 10 * DAY_MS]),
        1 => select(vec![u64::MAX, i64::MAX.unsigned_abs()]),
    ]
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
