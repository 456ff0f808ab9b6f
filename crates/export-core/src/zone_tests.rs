//! Names of zones, with their zone or the text of the error.

use super::*;

fn error(text: &str) -> String {
    parse_zone(text).err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
}

#[test]
fn b5_names_are_accepted_in_any_case() {
    for (text, zone) in [
        ("Europe/Amsterdam", Tz::Europe__Amsterdam),
        ("europe/amsterdam", Tz::Europe__Amsterdam),
        (" EUROPE/AMSTERDAM\n", Tz::Europe__Amsterdam),
        ("america/port-au-prince", Tz::America__PortauPrince),
        ("utc", Tz::UTC),
        ("cet", Tz::CET),
        ("est5edt", Tz::EST5EDT),
        ("etc/gmt-1", Tz::Etc__GMTMinus1),
    ] {
        assert_eq!(parse_zone(text), Ok(zone), "{text}");
    }
    for zone in TZ_VARIANTS {
        assert_eq!(parse_zone(&zone.name().to_uppercase()), Ok(zone), "no two names differ only in case");
    }
}

#[test]
fn b5_other_names_are_refused_with_the_zone_that_is_meant() {
    let offset = "is an offset, not an IANA time zone; name a place with this offset, such as";
    let reversed = "all year (the sign of these names is reversed)";
    let cases = [
        ("W. Europe Standard Time", "is a time zone of Windows, not of IANA; did you mean Europe/Berlin?".to_owned()),
        ("w. europe standard time", "is a time zone of Windows, not of IANA; did you mean Europe/Berlin?".to_owned()),
        ("W. Europe Daylight Time", "is a time zone of Windows, not of IANA; did you mean Europe/Berlin?".to_owned()),
        ("W. Europe Summer Time", "is a time zone of Windows, not of IANA; did you mean Europe/Berlin?".to_owned()),
        ("Pacific Standard Time", "is a time zone of Windows, not of IANA; did you mean America/Los_Angeles?".to_owned()),
        ("+01:00", format!("{offset} Europe/Budapest, or Etc/GMT-1 for +01:00 {reversed}")),
        ("UTC+1", format!("{offset} Europe/Budapest, or Etc/GMT-1 for +01:00 {reversed}")),
        ("-0500", format!("{offset} America/Havana, or Etc/GMT+5 for -05:00 {reversed}")),
        ("+05:30", format!("{offset} Asia/Calcutta")),
        ("+13:59", "is an offset, not an IANA time zone; name a place".to_owned()),
        ("Z", "is an offset, not an IANA time zone; did you mean UTC?".to_owned()),
        ("+00:00", "is an offset, not an IANA time zone; did you mean UTC?".to_owned()),
        ("CEST", "is an abbreviation, not an IANA time zone; did you mean Europe/Berlin, Europe/Budapest or Europe/Paris?".to_owned()),
        ("PST", "is an abbreviation, not an IANA time zone; did you mean America/Los_Angeles, America/Tijuana or America/Vancouver?".to_owned()),
        ("IST", "is an abbreviation, not an IANA time zone; did you mean Asia/Calcutta or Asia/Jerusalem?".to_owned()),
        ("Berlin", "is not an IANA time zone; did you mean Europe/Berlin?".to_owned()),
        ("new york", "is not an IANA time zone; did you mean America/New_York?".to_owned()),
        ("America/New York", "is not an IANA time zone; did you mean America/New_York?".to_owned()),
        ("Europe/Amstredam", "is not an IANA time zone; did you mean Europe/Amsterdam?".to_owned()),
        ("Europe\\Amsterdam", "is not an IANA time zone; did you mean Europe/Amsterdam?".to_owned()),
        ("Amsterdam/Europe", "expected an IANA time zone such as Europe/Amsterdam".to_owned()),
        (
            "(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna",
            "is not an IANA time zone; did you mean Europe/Amsterdam, Europe/Berlin or Europe/Rome?".to_owned(),
        ),
        ("Mars/Olympus", "expected an IANA time zone such as Europe/Amsterdam".to_owned()),
        ("local", "expected an IANA time zone such as Europe/Amsterdam".to_owned()),
        ("", "expected an IANA time zone such as Europe/Amsterdam".to_owned()),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected, "{text}");
    }
    assert_eq!(error(&"Berlin".repeat(1_000)), "expected an IANA time zone such as Europe/Amsterdam");
}

#[test]
fn b5_every_windows_name_stands_for_a_zone() {
    for (windows, zone) in WINDOWS_ZONES {
        assert!(named(zone).is_some(), "{windows}: {zone}");
    }
}

#[test]
fn b5_the_version_of_the_zone_data_is_part_of_the_version() {
    let expected = format!("{} (time zone data {ZONE_DATA_VERSION})", env!("CARGO_PKG_VERSION"));
    assert_eq!(program_version(), expected);
}
