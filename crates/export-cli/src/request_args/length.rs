//! `--step` and `--fill-limit`: lengths of time with a unit.

/// What a length must look like.
const EXPECTED: &str = "expected a length such as 500ms, 1s, 1m, 15min, 1h or 1d";
/// Names of units without a fixed length, as people write them.
const CALENDAR: [&str; 12] =
    ["w", "wk", "week", "weeks", "mo", "mon", "month", "months", "y", "yr", "year", "years"];

/// Parses a fixed length, in milliseconds. A day is 24 hours.
pub(super) fn parse_length(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ if CALENDAR.contains(&unit.to_ascii_lowercase().as_str()) => {
            return Err(format!(
                "calendar weeks, months and years are no fixed lengths, and are not supported; {EXPECTED}"
            ));
        }
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    number.checked_mul(milliseconds).filter(|length| *length > 0).ok_or_else(|| EXPECTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_a_unit() {
        for (text, expected) in [
            ("500ms", 500),
            ("1s", 1_000),
            ("1m", 60_000),
            ("15min", 900_000),
            (" 1 h ", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_length(text), Ok(expected), "{text}");
        }
        for wrong in ["", "1", "m", "0m", "-1m", "1.5h", "1M", "1us", "1 m 30 s", "99999999999999999999d"] {
            assert_eq!(parse_length(wrong), Err(EXPECTED.to_owned()), "{wrong}");
        }
        for calendar in ["1w", "1mo", "1 month", "2Years"] {
            let refused = parse_length(calendar).expect_err(calendar);
            assert!(refused.starts_with("calendar weeks, months and years"), "{refused}");
        }
    }
}
