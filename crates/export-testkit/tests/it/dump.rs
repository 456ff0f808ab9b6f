//! Dumps as `mongodump` would leave them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use bson::doc;
use export_testkit::dump::write_dump;
use export_testkit::reference::{SourceVehicle, StoredDocument};
use flate2::read::GzDecoder;
use serde_json::Value;

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let content =
        |path: &Path| (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(path));
    entries.map(|path| content(&path)).map(|(name, bytes)| (name, bytes.expect("a file"))).collect()
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).expect("gzip");
    content
}

#[test]
fn a_folder_per_vehicle_and_two_files_per_parameter() {
    let second = doc! { "_id": 2, "values": {} };
    let (raw, first) = (vec![6, 0, 0, 0, 0x55, 0], doc! { "_id": 1 });
    let stored = vec![second.clone().into(), StoredDocument::Raw(raw.clone()), first.clone().into()];
    let vehicle = SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: [("a,b/c".to_owned(), stored), ("soc".to_owned(), Vec::new())].into(),
    };
    let bytes = |document: bson::Document| document.to_vec().expect("a document");
    let content = [bytes(second), raw, bytes(first)].concat();

    let folder = tempfile::tempdir().expect("a folder");
    write_dump(folder.path(), std::slice::from_ref(&vehicle), false).expect("a dump");
    let plain = files(&folder.path().join("vehicle_001"));
    let names: Vec<&str> = plain.keys().map(String::as_str).collect();
    assert_eq!(names, ["a%2Cb%2Fc.bson", "a%2Cb%2Fc.metadata.json", "soc.bson", "soc.metadata.json"]);
    assert_eq!(plain["a%2Cb%2Fc.bson"], content);
    assert_eq!(plain["soc.bson"], b"");
    let metadata: Value = serde_json::from_slice(&plain["a%2Cb%2Fc.metadata.json"]).expect("JSON");
    assert_eq!((&metadata["collectionName"], &metadata["type"]), (&"a,b/c".into(), &"collection".into()));

    let folder = tempfile::tempdir().expect("a folder");
    write_dump(folder.path(), &[vehicle], true).expect("a dump");
    let compressed = files(&folder.path().join("vehicle_001"));
    let unpacked: BTreeMap<String, Vec<u8>> = compressed
        .iter()
        .map(|(name, bytes)| (name.strip_suffix(".gz").expect("an ending").to_owned(), unpacked(bytes)))
        .collect();
    assert_eq!(unpacked, plain);
}
