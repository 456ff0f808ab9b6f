//! The oracle: the correct output of an export, computed in the simplest way.
//!
//! It reads owned documents with the ordinary driver, keeps everything in memory, sorts it and
//! writes text with the standard library. The expected content of a parquet file is given as
//! columns of values. It shares no code with the engine, on purpose: each fact on which both agree
//! was written twice.
//!
//! Start at [`export_database`] (reads a server) or [`export_documents`] (is given the documents).

mod cell;
mod coverage;
mod database;
mod export;
mod names;
mod options;
mod read;
mod rows;
mod spreadsheet;
mod stored;
mod table;
mod time;
mod walk;

use std::collections::BTreeMap;

pub use coverage::{ReferenceCoverage, ReferenceGap};
pub use database::export_database;
pub use export::export_documents;
pub use options::*;
pub use stored::StoredDocument;
pub use table::{ColumnType, ReferenceColumn, ReferenceTable};

/// What to export.
#[derive(Debug, Clone, Default)]
pub struct ReferenceRequest {
    /// First millisecond of the range, unix time.
    pub from_ms: i64,
    /// First millisecond after the range, unix time.
    pub to_ms: i64,
    /// Databases of the requested vehicles; `None` means all.
    pub vehicles: Option<Vec<String>>,
    /// The requested columns, in their order; `None` means all collections, in the default order.
    pub parameters: Option<Vec<String>>,
    /// The output options.
    pub options: ReferenceOptions,
}

/// One stored vehicle: its database's name, and the hour documents of each of its collections.
#[derive(Debug, Clone, Default)]
pub struct SourceVehicle {
    /// Database name.
    pub database: String,
    /// Hour documents by collection, in the order of a dump's file. They are exported in the order
    /// of their `_id`s; documents with the same `_id` keep their order. A collection without
    /// documents is not a missing one.
    pub collections: BTreeMap<String, Vec<StoredDocument>>,
}

/// A whole export.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceExport {
    /// The parameters in the order of the columns.
    pub parameters: Vec<String>,
    /// Column names after `time`, the same in every file. They differ from the parameters where two
    /// would be equal, or where a spreadsheet would run one.
    pub columns: Vec<String>,
    /// The types of these columns. Only used for parquet.
    pub types: Vec<ColumnType>,
    /// The vehicles, sorted by database name.
    pub vehicles: Vec<ReferenceVehicle>,
}

/// One vehicle's file and the expected numbers in its manifest entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReferenceVehicle {
    /// Database name.
    pub database: String,
    /// Name of the file: the entry of an archive, or an object's.
    pub file_name: String,
    /// The whole file, not compressed; empty when the format is parquet.
    pub csv: Vec<u8>,
    /// The content of the file when the format is parquet.
    pub table: Option<ReferenceTable>,
    /// Rows of the file, the header not counted.
    pub rows: u64,
    /// Points shown in their rows per column, nulls included. Every column of the export has an
    /// entry.
    pub points: BTreeMap<String, u64>,
    /// Time of the first row, unix milliseconds.
    pub first_time_ms: Option<i64>,
    /// Time of the last row, unix milliseconds.
    pub last_time_ms: Option<i64>,
    /// Everything found in the place of a point, in all documents that were read, those rejected as
    /// a whole included.
    pub points_read: u64,
    /// Valid points before or after the range.
    pub outside_range: u64,
    /// Points replaced by a later one at the same time in the same collection.
    pub duplicates: u64,
    /// Valid points of the range that rows of intervals do not show.
    pub resampled_away: u64,
    /// Cells that repeat the last known value.
    pub filled: u64,
    /// The hours with data of any column.
    pub coverage: ReferenceCoverage,
    /// The hours with data by column. Every column of the export has an entry.
    pub parameter_coverage: BTreeMap<String, ReferenceCoverage>,
    /// Invalid points, by reason: `invalidKey`, `documentValue`, `notABucket`, `unsupportedType`,
    /// `invalidValue`, `textTooLong`, `outsideHour`.
    pub rejected_points: BTreeMap<String, Rejections>,
    /// Buckets that could not be read, or not to their end, by reason: `tooDeep`, `malformed`.
    pub rejected_buckets: BTreeMap<String, Rejections>,
    /// Whole documents that could not be read, by reason: `malformed`, `repeatedId`, `invalidId`,
    /// `missingValues`.
    pub rejected_documents: BTreeMap<String, Rejections>,
    /// Cells with apostrophes, so that no spreadsheet interprets a part of them as a formula.
    pub guarded: u64,
    /// Cells in which NUL is written as U+FFFD.
    pub replaced: u64,
    /// Columns of the export for which this vehicle has no collection, in column order.
    pub missing_collections: Vec<String>,
}

/// The items rejected for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Their number.
    pub count: u64,
    /// For buckets and documents: the points found in them.
    pub points: Option<u64>,
    /// For buckets and documents: how many of them may hold more points.
    pub uncounted: u64,
    /// The first three by hour and column, as they are stored.
    pub samples: Vec<ReferenceSample>,
}

/// The location of a rejected item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceSample {
    /// The collection.
    pub parameter: String,
    /// The document's `_id` as text.
    pub document: String,
    /// The keys from `values` to the point, joined by `/`; empty for a whole document.
    pub path: String,
}

impl ReferenceVehicle {
    /// Cells written, over all columns.
    pub fn cells_written(&self) -> u64 {
        self.points.values().sum()
    }

    /// Rejected points, over all reasons, those of rejected buckets and documents included.
    pub fn rejected_point_count(&self) -> u64 {
        let points: u64 = self.rejected_points.values().map(|rejections| rejections.count).sum();
        let containers = self.rejected_buckets.values().chain(self.rejected_documents.values());
        points + containers.filter_map(|rejections| rejections.points).sum::<u64>()
    }

    /// Rejected buckets, over all reasons.
    pub fn rejected_bucket_count(&self) -> u64 {
        self.rejected_buckets.values().map(|rejections| rejections.count).sum()
    }

    /// Rejected documents, over all reasons.
    pub fn rejected_document_count(&self) -> u64 {
        self.rejected_documents.values().map(|rejections| rejections.count).sum()
    }

    /// Whether the numbers of points reconcile.
    pub fn reconciles(&self) -> bool {
        self.points_read
            == self.cells_written()
                + self.outside_range
                + self.rejected_point_count()
                + self.duplicates
                + self.resampled_away
    }
}

/// The columns when none are requested: the well-known ones first, then the others bytewise.
fn default_columns<'a>(collections: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    const FIRST: [&str; 5] = ["soc", "speed", "current", "odo", "voltage"];
    let mut columns: Vec<String> = collections.into_iter().map(str::to_owned).collect();
    columns.sort_by_key(|name| {
        let place = FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len());
        (place, name.clone())
    });
    columns.dedup();
    columns
}
