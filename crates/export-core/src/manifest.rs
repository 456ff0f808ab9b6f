//! The manifest: the last entry of every archive, and the proof that every point read is in the
//! files.
//!
//! It holds no value that differs between two exports of the same data (no job id, no clock), so
//! the same request gives the same bytes.

mod findings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::coverage::{CoverageTotals, VehicleCoverage};
use crate::output::OutputOptions;
use crate::source::{UnreadCollection, UnreadReason};
use crate::warnings::Warnings;

/// Name of the manifest's entry in an archive.
pub const MANIFEST_ENTRY: &str = "manifest.json";

/// Maximum number of samples for each reason and vehicle.
pub const SAMPLES_PER_REASON: usize = 3;

/// Maximum number of names of unread collections for each reason and vehicle.
pub const UNREAD_NAMES: usize = 20;

/// The whole manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Version of the manifest's layout: 1.
    pub version: u32,
    /// Version of the IANA time zone data that the instants and local times were made with, such as
    /// `2025b`; empty in manifests of earlier versions.
    #[serde(default)]
    pub zone_data_version: String,
    /// The request with all defaults filled in.
    pub request: ResolvedRequest,
    /// Columns that do not have the name of their parameter, by parameter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub renamed_columns: BTreeMap<String, String>,
    /// Files that are not named after their vehicle, by vehicle.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub renamed_files: BTreeMap<String, String>,
    /// One entry per vehicle, in the order of the archive.
    pub vehicles: Vec<VehicleManifest>,
    /// Sums over all vehicles.
    pub totals: Totals,
    /// What the result probably lacks.
    #[serde(flatten)]
    pub warnings: Warnings,
}

/// The request with its vehicles, parameters and instants resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedRequest {
    /// The start as written in the request.
    pub start_date: String,
    /// The end as written in the request.
    pub end_date: String,
    /// IANA zone in which plain dates were read.
    pub timezone: String,
    /// The half-open range of these dates.
    pub range: RangeText,
    /// The vehicles, in order.
    pub vehicles: Vec<String>,
    /// The parameters: the columns after `time`, in order.
    pub parameters: Vec<String>,
    /// The output options that have an effect.
    #[serde(flatten, serialize_with = "OutputOptions::serialize_effective")]
    pub output: OutputOptions,
}

/// A half-open range as RFC 3339 instants in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeText {
    /// First instant of the range.
    pub from: String,
    /// First instant after the range.
    pub to: String,
}

/// The figures of one vehicle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VehicleManifest {
    /// The vehicle's name.
    pub vehicle: String,
    /// Name of its entry in the archive.
    pub entry: String,
    /// Rows of its file, without the header.
    pub rows: u64,
    /// Points that became a cell, by parameter; a parameter without any has 0.
    pub points: BTreeMap<String, u64>,
    /// Time of the first row, unix milliseconds.
    pub first_time: Option<i64>,
    /// Time of the last row, unix milliseconds.
    pub last_time: Option<i64>,
    /// Size of its file in bytes, before the archive or the object is compressed.
    pub bytes: u64,
    /// CRC-32 of its file, eight hex digits.
    pub crc32: String,
    /// The counts of its points.
    #[serde(flatten)]
    pub counts: Counts,
    /// Text cells with a `'` wherever a spreadsheet would run a part of them as a formula.
    pub guarded: u64,
    /// Text cells whose NULs were replaced.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub replaced: u64,
    /// Cells that repeat the last known value because their interval has none; only for resampled
    /// exports.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub filled: u64,
    /// The hours with data; `None` in manifests of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub coverage: Option<VehicleCoverage>,
    /// Points that could not be exported, by reason.
    pub rejected_points: BTreeMap<String, Rejections>,
    /// Buckets that could not be read, or not to their end, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub rejected_buckets: BTreeMap<String, Rejections>,
    /// Hour documents that could not be read, by reason.
    pub rejected_documents: BTreeMap<String, Rejections>,
    /// Parameters without a collection for this vehicle.
    pub missing_collections: Vec<String>,
    /// Collections of the vehicle that the request covers and that were not read, by reason; left
    /// out if there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub unread_collections: BTreeMap<UnreadReason, UnreadNames>,
}

/// The number of collections that were not read for one reason, with the first names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadNames {
    /// Number of collections.
    pub count: u64,
    /// The first [`UNREAD_NAMES`] names, sorted.
    pub names: Vec<String>,
}

impl UnreadNames {
    /// Groups collections by reason.
    pub fn by_reason(unread: &[UnreadCollection]) -> BTreeMap<UnreadReason, Self> {
        let mut sorted: Vec<&UnreadCollection> = unread.iter().collect();
        sorted.sort();
        let mut groups: BTreeMap<UnreadReason, Self> = BTreeMap::new();
        for collection in sorted {
            let group = groups.entry(collection.reason).or_default();
            group.count += 1;
            if group.names.len() < UNREAD_NAMES {
                group.names.push(collection.name.clone());
            }
        }
        groups
    }
}

/// The counts of points, which must add up: `pointsRead = cellsWritten + outsideRange + rejected +
/// duplicates + resampledAway`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Points found in the hour documents that overlap the range. They are counted by a walk of
    /// their own, apart from the decoding.
    pub points_read: u64,
    /// Points that became a cell (a null becomes a blank one).
    pub cells_written: u64,
    /// Valid points outside the range.
    pub outside_range: u64,
    /// Points that could not be exported, those of rejected buckets and documents included.
    pub rejected: u64,
    /// Points with the time of a later point (in the order of the path).
    pub duplicates: u64,
    /// Points that a resampled export leaves out, because a later point represents their interval,
    /// or none does.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub resampled_away: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Whether the counts add up.
    pub fn reconcile(&self) -> bool {
        self.points_read
            == self.cells_written + self.outside_range + self.rejected + self.duplicates + self.resampled_away
    }

    /// Adds the other counts.
    pub fn add(&mut self, other: &Self) {
        self.points_read += other.points_read;
        self.cells_written += other.cells_written;
        self.outside_range += other.outside_range;
        self.rejected += other.rejected;
        self.duplicates += other.duplicates;
        self.resampled_away += other.resampled_away;
    }
}

/// The number of rejections for one reason, with the first samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejections {
    /// Number of rejections.
    pub count: u64,
    /// For buckets and documents: the points that were found in them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub points: Option<u64>,
    /// For buckets and documents: how many of them may hold more points, because they cannot be read
    /// to their end.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub uncounted: u64,
    /// The first rejections: by hour, then by column, then as they are stored.
    pub samples: Vec<Sample>,
}

impl Rejections {
    /// Counts a rejection, and keeps the first [`SAMPLES_PER_REASON`] samples.
    pub fn add(&mut self, sample: impl FnOnce() -> Sample) {
        self.count += 1;
        if self.samples.len() < SAMPLES_PER_REASON {
            self.samples.push(sample());
        }
    }

    /// Adds the rejections of a later part of the data.
    pub fn merge(&mut self, later: Self) {
        self.count += later.count;
        if let Some(points) = later.points {
            self.points = Some(self.points.unwrap_or(0) + points);
        }
        self.uncounted += later.uncounted;
        let room = SAMPLES_PER_REASON.saturating_sub(self.samples.len());
        self.samples.extend(later.samples.into_iter().take(room));
    }
}

/// The location of a rejected point or document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The collection.
    pub parameter: String,
    /// The document's `_id` as text.
    pub document: String,
    /// The keys from the document's `values` to the point, joined by `/`; empty for the document
    /// itself.
    pub path: String,
}

/// Sums over all vehicles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Number of vehicles, each with one file.
    pub vehicles: u64,
    /// Rows of all files.
    pub rows: u64,
    /// Bytes of all files before the archive or the objects are compressed.
    pub bytes: u64,
    /// The counts of all points.
    #[serde(flatten)]
    pub counts: Counts,
    /// Buckets that could not be read, or not to their end.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub rejected_buckets: u64,
    /// Hour documents that could not be read.
    pub rejected_documents: u64,
    /// Hours with data of all vehicles; `None` in manifests of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub coverage: Option<CoverageTotals>,
    /// Whether the counts of each vehicle add up.
    pub reconciled: bool,
}

impl Totals {
    /// Sums over the vehicles.
    pub fn of(vehicles: &[VehicleManifest]) -> Self {
        let covered = vehicles.iter().filter_map(|vehicle| vehicle.coverage.as_ref());
        let coverage = Some(CoverageTotals::of(covered));
        let mut totals = Self { coverage, reconciled: true, ..Self::default() };
        for vehicle in vehicles {
            totals.vehicles += 1;
            totals.rows += vehicle.rows;
            totals.bytes += vehicle.bytes;
            totals.counts.add(&vehicle.counts);
            totals.rejected_buckets += vehicle.rejected_buckets.values().map(|r| r.count).sum::<u64>();
            totals.rejected_documents += vehicle.rejected_documents.values().map(|r| r.count).sum::<u64>();
            let cells: u64 = vehicle.points.values().sum();
            totals.reconciled &= vehicle.counts.reconcile() && cells == vehicle.counts.cells_written;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_point_is_detected() {
        let mut vehicle = VehicleManifest {
            counts: Counts { points_read: 3, cells_written: 2, rejected: 1, ..Counts::default() },
            points: BTreeMap::from([("soc".to_owned(), 2)]),
            ..VehicleManifest::default()
        };
        assert!(Totals::of(std::slice::from_ref(&vehicle)).reconciled);
        vehicle.counts.points_read += 1;
        assert!(!Totals::of(&[vehicle]).reconciled);
    }

    #[test]
    fn only_the_first_samples_are_kept() {
        let mut rejections = Rejections::default();
        for document in 0..10 {
            rejections.add(|| Sample {
                parameter: "soc".into(),
                document: document.to_string(),
                path: String::new(),
            });
        }
        assert_eq!((rejections.count, rejections.samples.len()), (10, SAMPLES_PER_REASON));
    }

    #[test]
    fn a6_names_of_unread_collections_are_bounded_and_sorted() {
        let unread: Vec<UnreadCollection> = (0..30)
            .rev()
            .map(|number| UnreadCollection { name: format!("v{number:02}"), reason: UnreadReason::View })
            .collect();
        let vehicle =
            VehicleManifest { unread_collections: UnreadNames::by_reason(&unread), ..Default::default() };
        let json = serde_json::to_value(&vehicle).expect("JSON");
        assert_eq!(json["unreadCollections"]["view"]["count"], 30);
        let names = json["unreadCollections"]["view"]["names"].as_array().expect("a list");
        assert_eq!((names.len(), &names[0], &names[19]), (UNREAD_NAMES, &"v00".into(), &"v19".into()));
        let none = serde_json::to_value(VehicleManifest::default()).expect("JSON");
        assert!(none.get("unreadCollections").is_none(), "other manifests stay as they are");
    }
}
