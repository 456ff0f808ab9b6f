//! Generated ranges: time zones have their oddities at certain times, and filled ranges must not
//! have too many rows.

use proptest::prelude::*;

use crate::reference::ReferenceOptions;

const HOUR_MS: i64 = 3_600_000;

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

/// The length of a range, cut so that filling it does not give too many rows.
pub(super) fn bounded_length_ms(length_ms: i64, options: &ReferenceOptions) -> i64 {
    let filled_step_ms = options.step_ms.filter(|_| options.fill_previous);
    let most_ms = filled_step_ms.map_or(u64::MAX, |step_ms| step_ms.saturating_mul(MOST_FILLED_ROWS));
    i64::try_from(most_ms).map_or(length_ms, |most_ms| length_ms.min(most_ms))
}
