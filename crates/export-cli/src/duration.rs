//! Lengths of time as a person reads them.

/// Seconds as a person reads them: `2 h 1 min`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [(59, "59 s"), (90, "1 min 30 s"), (2 * 3600 + 61, "2 h 1 min")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
