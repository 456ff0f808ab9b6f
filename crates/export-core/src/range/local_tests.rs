//! Local days and times in every zone.

use proptest::prelude::*;

use super::*;
use crate::range::HOUR_MS;

fn instant(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).expect("a valid instant").timestamp_millis()
}

fn day(text: &str, zone: Tz) -> i64 {
    midnight_ms(text.parse().expect("a date"), zone)
}

#[test]
fn midnight_in_a_gap_steps_forward_and_in_a_fold_is_the_earliest() {
    // Beirut 2018-03-25: 00:00 does not exist, the day begins at 01:00+03:00.
    assert_eq!(day("2018-03-25", Tz::Asia__Beirut), instant("2018-03-25T01:00:00+03:00"));
    // Havana 2018-11-04: 00:00 exists twice, first at -04:00.
    assert_eq!(day("2018-11-04", Tz::America__Havana), instant("2018-11-04T00:00:00-04:00"));
    // St. John's 1990-10-28: a minute of the day, then back to 23:01 of the day before; the day
    // begins with that minute.
    assert_eq!(day("1990-10-28", Tz::America__St_Johns), instant("1990-10-28T00:00:00-02:30"));
    // Sao Paulo 2018-02-18: at midnight back to 23:00, so that midnight itself comes once, an
    // hour later.
    assert_eq!(day("2018-02-18", Tz::America__Sao_Paulo), instant("2018-02-18T00:00:00-03:00"));
    // Apia skipped all of 2011-12-30: the day begins when the next one does.
    assert_eq!(day("2011-12-30", Tz::Pacific__Apia), instant("2011-12-31T00:00:00+14:00"));
}

#[test]
fn b6_instants_are_shown_with_the_offset_of_the_zone() {
    for (text, zone, shown) in [
        ("2018-11-30T00:00:00Z", Tz::UTC, "2018-11-30T00:00:00Z"),
        ("2018-11-30T00:00:00Z", Tz::Europe__London, "2018-11-30T00:00:00+00:00"),
        ("2018-06-30T00:00:00.5Z", Tz::Asia__Kolkata, "2018-06-30T05:30:00.500+05:30"),
        // Local mean time: 19 minutes and 32 seconds ahead of UTC.
        ("1900-01-01T00:00:00Z", Tz::Africa__Monrovia, "1899-12-31T23:17:00-00:43"),
    ] {
        assert_eq!(rfc3339_in(instant(text), zone), shown, "{text} {zone}");
        assert_eq!(instant(shown), instant(text));
    }
}

/// The local date in a zone.
fn local_date(time_ms: i64, zone: Tz) -> NaiveDate {
    DateTime::<Utc>::from_timestamp_millis(time_ms).expect("in range").with_timezone(&zone).date_naive()
}

/// The next day within a year that is longer or shorter than 24 hours.
fn day_of_a_clock_change(from: NaiveDate, zone: Tz) -> Option<NaiveDate> {
    let start_ms = |date| midnight_ms(date, zone);
    from.iter_days().take(366).find(|date| start_ms(*date + Days::new(1)) - start_ms(*date) != 24 * HOUR_MS)
}

proptest! {
    /// Around a clock change, a day begins at the first instant with its local date: after a
    /// gap, and at the first of two midnights. Checked minute by minute, because some changes
    /// do not happen on the hour.
    #[test]
    fn days_begin_once_where_clocks_change(day in 0u32..20_000, zone in 0usize..chrono_tz::TZ_VARIANTS.len()) {
        let zone = chrono_tz::TZ_VARIANTS[zone];
        let from = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date") + Days::new(day.into());
        let changed = day_of_a_clock_change(from, zone).unwrap_or(from);
        for date in [changed, changed + Days::new(1)] {
            let start_ms = midnight_ms(date, zone);
            prop_assert!(local_date(start_ms, zone) >= date);
            for minutes in 0..26 * 60 {
                let before_ms = start_ms - 1 - minutes * 60_000;
                prop_assert!(local_date(before_ms, zone) < date, "{zone} {date}: {}", to_rfc3339(before_ms));
            }
        }
    }

    /// Days follow each other without gap or overlap in every zone, and each begins on its own
    /// date (or later, where the whole day does not exist).
    #[test]
    fn days_tile_time(day in 0u32..36_500, zone in 0usize..chrono_tz::TZ_VARIANTS.len()) {
        let zone = chrono_tz::TZ_VARIANTS[zone];
        let date = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date") + Days::new(day.into());
        let start_ms = midnight_ms(date, zone);
        let next_ms = midnight_ms(date + Days::new(1), zone);
        prop_assert!(start_ms <= next_ms);
        prop_assert!(local_date(start_ms, zone) >= date);
        prop_assert!(local_date(start_ms - 1, zone) < date);
    }

    /// The local time of every instant of a day with a clock change means that instant, alone or as
    /// one of two; and an instant shown in a zone is that instant.
    #[test]
    fn b4_each_instant_is_a_meaning_of_its_local_time(
        day in 0u32..20_000, zone in 0usize..chrono_tz::TZ_VARIANTS.len(), second in 0i64..100_000,
    ) {
        let zone = chrono_tz::TZ_VARIANTS[zone];
        let from = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date") + Days::new(day.into());
        let changed = day_of_a_clock_change(from, zone).unwrap_or(from);
        let time_ms = midnight_ms(changed, zone) + second * 1_000;
        let local = DateTime::<Utc>::from_timestamp_millis(time_ms).expect("in range")
            .with_timezone(&zone).naive_local();
        match meaning(local, zone) {
            Meaning::Once(only) => prop_assert_eq!(only, time_ms),
            Meaning::Twice(first, second) => {
                prop_assert!(first < second && [first, second].contains(&time_ms));
            }
            Meaning::Never(..) => prop_assert!(false, "{} exists in {}", local, zone),
        }
        prop_assert_eq!(instant(&rfc3339_in(time_ms, zone)), time_ms);
    }
}
