//! Reads results, and compares them with the reference exporter.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Cursor;

use bson::{Bson, Document};
use export_testkit::reference::{ReferenceArchive, ReferenceExport, export_database};
use export_testkit::verify::{compare, compare_objects};
use mongodb::Client;
use sha2::{Digest, Sha256};

use super::evidence::FoundResult;
use super::shape::Shape;
use crate::Deployment;

/// The name used here for the one object of a job with a zip.
const ZIP: &str = "export.zip";
/// The object whose checksum a job without a zip has.
const MANIFEST: &str = "manifest.json";

/// Reference exports by shape, made once, and the results that were found equal to them.
#[derive(Default)]
pub(super) struct References {
    exports: BTreeMap<Shape, ReferenceExport>,
    /// Shapes with the checksums of all their objects.
    known: BTreeSet<(Shape, Vec<(String, String)>)>,
}

impl References {
    /// A found result, and its differences from the reference export.
    pub(super) async fn judge(&mut self, deployment: &Deployment, read: &Read) -> FoundResult {
        let mut found = read.found.clone();
        let space = &deployment.space;
        match read.shape {
            None => found.differences.push("no client posted such an export".to_owned()),
            Some(shape) if found.missing.is_empty() => {
                let compared = self.compare(&space.mongodb, &space.vehicle_prefix, shape, &read.objects);
                (found.reference_rows, found.differences) = compared.await;
            }
            Some(_) => {}
        }
        found
    }

    /// Rows of the reference export, and the differences of these objects from it.
    async fn compare(
        &mut self,
        client: &Client,
        vehicle_prefix: &str,
        shape: Shape,
        objects: &[(String, Vec<u8>)],
    ) -> (u64, Vec<String>) {
        let request = shape.request(vehicle_prefix);
        let export = match self.exports.entry(shape) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                let export = export_database(client, vehicle_prefix, &request).await;
                place.insert(export.unwrap_or_else(|error| panic!("no reference export: {error}")))
            }
        };
        let rows = export.vehicles.iter().map(|vehicle| vehicle.rows).sum();
        let checksums = objects.iter().map(|(name, content)| (name.clone(), hex_sha256(content)));
        let known = (shape, checksums.collect());
        if self.known.contains(&known) {
            return (rows, Vec::new());
        }
        let compared = match (request.options.archive, objects) {
            (ReferenceArchive::Zip, [(_, zip)]) => compare(Cursor::new(zip), &request, export),
            _ => compare_objects(objects, &request, export),
        };
        let differences = compared.err().map_or_else(Vec::new, |differences| differences.0);
        if differences.is_empty() {
            self.known.insert(known);
        }
        (rows, differences)
    }
}

/// The content of a finished job's result, before the comparison.
pub(super) struct Read {
    pub(super) job_id: String,
    shape: Option<Shape>,
    found: FoundResult,
    /// Name and content of each object.
    objects: Vec<(String, Vec<u8>)>,
}

/// Reads the objects behind a finished job's URI.
pub(super) async fn read_back(deployment: &Deployment, job: &Document) -> Read {
    let job_id = job.get_str("_id").unwrap_or_default().to_owned();
    let mut read = Read { job_id, shape: Shape::of(job), found: FoundResult::default(), objects: Vec::new() };
    let found = &mut read.found;
    let uri = job.get_str("exportUri").unwrap_or_default();
    let Some(key) = uri.strip_prefix(&format!("s3://{}/", deployment.space.bucket)) else {
        found.missing.push(format!("{uri:?} is not of this bucket"));
        return read;
    };
    let result = match job.get_str("resultId") {
        Ok(result_id) => deployment.result(result_id).await.unwrap_or_default(),
        Err(_) => Document::new(),
    };
    if result.get_str("uri").ok() != Some(uri) {
        found.missing.push(format!("its result is of another address: {result}"));
    }
    for (name, bytes) in listed(&result, key) {
        let key = if key.ends_with('/') { format!("{key}{name}") } else { key.to_owned() };
        match object(deployment, &key).await {
            Ok(content) => {
                let length = content.len();
                if bytes.is_some_and(|bytes| usize::try_from(bytes) != Ok(length)) {
                    found.missing.push(format!("{key} has {length} bytes, the result says {bytes:?}"));
                }
                found.bytes += length as u64;
                if name == ZIP || name == MANIFEST {
                    found.sha256 = hex_sha256(&content);
                }
                read.objects.push((name, content));
            }
            Err(error) => found.missing.push(error),
        }
    }
    read
}

/// Names and sizes of the objects, as the result lists them; a zip has only its key.
fn listed(result: &Document, key: &str) -> Vec<(String, Option<i64>)> {
    if !key.ends_with('/') {
        return vec![(ZIP.to_owned(), None)];
    }
    let objects = result.get_array("objects").map_or(&[][..], Vec::as_slice);
    let objects = objects.iter().filter_map(Bson::as_document);
    objects
        .map(|object| {
            (object.get_str("name").unwrap_or_default().to_owned(), object.get_i64("bytes").ok().or(Some(-1)))
        })
        .collect()
}

async fn object(deployment: &Deployment, key: &str) -> Result<Vec<u8>, String> {
    let space = &deployment.space;
    let object = space.s3.get_object().bucket(&space.bucket).key(key).send().await;
    let object = object.map_err(|error| format!("{key} is not there: {:?}", error.into_service_error()))?;
    let content = object.body.collect().await.map_err(|error| format!("{key} ends early: {error}"))?;
    Ok(content.to_vec())
}

fn hex_sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
