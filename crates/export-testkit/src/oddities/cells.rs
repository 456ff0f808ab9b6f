//! Vehicles of [`super::one_day`] with texts that readers and spreadsheets may misunderstand.

use bson::Bson;

use super::{DAY_MS, OddVehicle};
use crate::hour::HourBuilder;

const ALL_BUT_SOC: [&str; 4] = ["speed", "current", "odo", "voltage"];

fn texts(suffix: &'static str, texts: &[&str], csv: &'static str) -> OddVehicle {
    let points = (0..).zip(texts).map(|(ms, text)| (DAY_MS + ms, Bson::String((*text).to_owned())));
    OddVehicle {
        suffix,
        collections: vec![("soc", vec![HourBuilder::new(DAY_MS).points(points).build()])],
        csv,
        missing_collections: ALL_BUT_SOC.to_vec(),
        ..OddVehicle::default()
    }
}

/// A text with a control character stands in quotes; only NUL is replaced.
pub(super) fn control_characters() -> OddVehicle {
    let vehicle = texts(
        "control_characters",
        &[
            "a\0b",
            "\u{1a}",
            "a\tb",
            "a\rb",
            "a\u{b}b\u{c}",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{2028}b",
            "\u{feff}a",
            "a\u{a0}b",
        ],
        "time,soc,speed,current,odo,voltage\n\
         1543536000000,\"a\u{fffd}b\",,,,\n\
         1543536000001,\"\u{1a}\",,,,\n\
         1543536000002,\"a\tb\",,,,\n\
         1543536000003,\"a\rb\",,,,\n\
         1543536000004,\"a\u{b}b\u{c}\",,,,\n\
         1543536000005,\"a\u{7f}\",,,,\n\
         1543536000006,\"a\u{85}b\",,,,\n\
         1543536000007,\"a\u{2028}b\",,,,\n\
         1543536000008,\"\u{feff}a\",,,,\n\
         1543536000009,a\u{a0}b,,,,\n",
    );
    OddVehicle { replaced: 1, ..vehicle }
}

/// A `'` stands in front of every piece of a text that a spreadsheet would run; numbers stay.
pub(super) fn formulas() -> OddVehicle {
    let vehicle = texts(
        "formulas",
        &[
            "x;=1+1",
            "x\t@y",
            "x|-y",
            "a\r\n+b",
            "\0=1",
            "＝1+1",
            " \"=1",
            "-5.5",
            "-33.86|151.21",
            "+31 6 1234",
            "1;-5",
            "a=b-c",
        ],
        "time,soc,speed,current,odo,voltage\n\
         1543536000000,x;'=1+1,,,,\n\
         1543536000001,\"x\t'@y\",,,,\n\
         1543536000002,x|'-y,,,,\n\
         1543536000003,\"a\r\n'+b\",,,,\n\
         1543536000004,\"'\u{fffd}=1\",,,,\n\
         1543536000005,'＝1+1,,,,\n\
         1543536000006,\"' \"\"=1\",,,,\n\
         1543536000007,-5.5,,,,\n\
         1543536000008,-33.86|151.21,,,,\n\
         1543536000009,'+31 6 1234,,,,\n\
         1543536000010,1;'-5,,,,\n\
         1543536000011,a=b-c,,,,\n",
    );
    OddVehicle { guarded: 9, replaced: 1, ..vehicle }
}
