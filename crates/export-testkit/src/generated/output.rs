//! Generated output options and starts of ranges: time zones have their oddities at certain times.

use crate::reference::{
    ReferenceArchive, ReferenceCompression, ReferenceFormat, ReferenceOptions, ReferenceTimeFormat,
};
use proptest::bool::weighted;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

/// Maximum number of rows of a filled range in one vehicle, because each is compared, in thousands
/// of cases.
const MOST_FILLED_ROWS: u64 = 5_000;

/// The time of a case's data; the range begins up to an hour before and two after.
pub(super) fn start_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        // 2018-11-30T00:00:00Z: no clock changes.
        6 => Just(1_543_536_000_000),
        // Before and after 1970, where an int32 `_id` fits and times are negative.
        4 => Just(-2 * HOUR_MS),
        // An hour before the clocks change in Amsterdam and on Lord Howe Island.
        1 => Just(1_521_936_000_000),
        1 => Just(1_540_684_800_000),
        1 => Just(1_538_836_200_000),
        // Hours after the first and before the last instant that a range can have: local years are
        // 0 and 10000.
        1 => Just(-62_135_596_800_000 + 3 * HOUR_MS),
        1 => Just(253_402_300_800_000 - 6 * HOUR_MS),
    ]
}

/// Plain CSVs in a zip in nearly half of the cases.
pub(super) fn options() -> impl Strategy<Value = ReferenceOptions> {
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
    let step_ms = option::weighted(0.6, step_ms());
    (format, archive, compression, time_format, timezone, weighted(0.7), step_ms, any::<bool>()).prop_map(
        |(format, archive, compression, time_format, timezone, guard, step_ms, fill)| ReferenceOptions {
            format,
            archive,
            compression,
            time_format,
            timezone: timezone.to_owned(),
            guard,
            step_ms,
            fill_previous: fill && step_ms.is_some(),
        },
    )
}

fn step_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => select(vec![1, 2, 7, 100, 250, 999, 1_000, 10_000, 60_000]),
        3 => 1_u64..30_000,
        2 => select(vec![900_000, 3_600_000, 3_600_001, 7_200_000, DAY_MS, 10 * DAY_MS]),
        1 => select(vec![u64::MAX, i64::MAX.unsigned_abs()]),
    ]
}

/// The length of a range, cut so that filling it does not give too many rows.
pub(super) fn bounded_length_ms(length_ms: i64, options: &ReferenceOptions) -> i64 {
    let filled_step_ms = options.step_ms.filter(|_| options.fill_previous);
    let most_ms = filled_step_ms.map_or(u64::MAX, |step_ms| step_ms.saturating_mul(MOST_FILLED_ROWS));
    i64::try_from(most_ms).map_or(length_ms, |most_ms| length_ms.min(most_ms))
}
