//! The oddities of real data, as data and as the expected CSV, written by hand.
//!
//! The expected text is the point of this file: it was derived from the rules by reading, not by
//! running an exporter.

mod cells;
mod vehicles;

use bson::Document;

use crate::hour::{HourBuilder, IdType};

/// Vehicles to export together: the columns are the same in every file.
#[derive(Debug, Clone)]
pub struct OddFleet {
    /// First day, as `startDate` of a request.
    pub start_date: &'static str,
    /// Day after the last one, as `endDate` of a request.
    pub end_date: &'static str,
    /// `start_date` in unix milliseconds.
    pub from_ms: i64,
    /// `end_date` in unix milliseconds.
    pub to_ms: i64,
    /// The columns that an export of all parameters has.
    pub parameters: Vec<&'static str>,
    /// The vehicles, sorted by suffix.
    pub vehicles: Vec<OddVehicle>,
}

/// One vehicle with one oddity.
#[derive(Debug, Clone, Default)]
pub struct OddVehicle {
    /// Suffix of the database name; names the oddity.
    pub suffix: &'static str,
    /// Hour documents by collection.
    pub collections: Vec<(&'static str, Vec<Document>)>,
    /// The whole expected file.
    pub csv: &'static str,
    /// Rejected points by reason, sorted by reason.
    pub rejected: Vec<(&'static str, u64)>,
    /// Points replaced by another at the same time.
    pub duplicates: u64,
    /// Valid points out of the range.
    pub outside_range: u64,
    /// Rejected documents by reason.
    pub rejected_documents: Vec<(&'static str, u64)>,
    /// Strings guarded against being taken for a formula.
    pub guarded: u64,
    /// Strings in which NUL is replaced.
    pub replaced: u64,
    /// Columns without a collection.
    pub missing_collections: Vec<&'static str>,
}

/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;

/// One day of vehicles, each with its own oddity, over the five usual parameters.
pub fn one_day() -> OddFleet {
    OddFleet {
        start_date: "2018-11-30",
        end_date: "2018-12-01",
        from_ms: DAY_MS,
        to_ms: DAY_MS + 24 * HOUR_MS,
        parameters: vec!["soc", "speed", "current", "odo", "voltage"],
        vehicles: vec![
            vehicles::aligned(),
            cells::control_characters(),
            vehicles::empty(),
            cells::formulas(),
            vehicles::id_double(),
            vehicles::id_int64(),
            vehicles::innermost_5000(),
            vehicles::missing_collections(),
            vehicles::no_levels(),
            vehicles::range_ends(),
            vehicles::rejected(),
            vehicles::shuffled(),
            vehicles::texts(),
            vehicles::zeros(),
        ],
    }
}

/// Hours near 1970, the only ones whose `_id` fits in 32 bits.
pub fn near_1970() -> OddFleet {
    let soc = HourBuilder::new(0).id_type(IdType::Int32).point(0, 0).point(3_599_999, 12.5).build();
    let second = HourBuilder::new(2 * HOUR_MS).id_type(IdType::Int32).point(7_200_001, -1_i64).build();
    OddFleet {
        start_date: "1970-01-01",
        end_date: "1970-01-02",
        from_ms: 0,
        to_ms: 24 * HOUR_MS,
        parameters: vec!["soc", "speed"],
        vehicles: vec![OddVehicle {
            suffix: "id_int32",
            collections: vec![("soc", vec![soc]), ("speed", vec![second])],
            csv: "time,soc,speed\n\
                  0,0,\n\
                  3599999,12.5,\n\
                  7200001,,-1\n",
            ..OddVehicle::default()
        }],
    }
}
