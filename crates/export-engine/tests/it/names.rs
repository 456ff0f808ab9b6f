//! Names of columns and files that some program would take for the same, or refuse.

use std::collections::BTreeMap;

use bson::Document;
use export_core::manifest::Manifest;
use export_core::output::Archive;
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{
    ReferenceFormat, ReferenceOptions, ReferenceRequest, SourceVehicle, export_documents,
};

use crate::harness::{InMemory, Run, plan};
use crate::oracle::differences;

const START_MS: i64 = 1_543_536_000_000;

fn hour() -> Document {
    HourBuilder::new(START_MS).point(START_MS, 1).point(START_MS + 5, "x").build()
}

fn vehicle(name: &str, parameters: &[&str]) -> SourceVehicle {
    let collections = parameters.iter().map(|name| ((*name).to_owned(), vec![hour().into()]));
    SourceVehicle { database: name.to_owned(), collections: collections.collect() }
}

/// Objects and manifest of an export that is also compared with the reference exporter's, in every
/// format.
fn exported(vehicles: &[SourceVehicle], format: ReferenceFormat) -> (BTreeMap<String, Vec<u8>>, Manifest) {
    let options = ReferenceOptions { format, ..ReferenceOptions::default() };
    let request = ReferenceRequest {
        from_ms: START_MS,
        to_ms: START_MS + 3_600_000,
        options,
        ..ReferenceRequest::default()
    };
    assert_eq!(differences(&request, vehicles, 1, 1), "");
    let mut plan = plan(&request, &export_documents(&request, vehicles), vehicles);
    plan.request.output.archive = Archive::None;
    plan.request.output.compression = export_core::output::Compression::None;
    let exported = Run::default().export(&plan, &InMemory(vehicles)).expect("an export");
    (exported.sink.written.into_iter().collect(), exported.manifest)
}

fn renamed(names: &[(&str, &str)]) -> BTreeMap<String, String> {
    names.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

fn header(objects: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    let text = std::str::from_utf8(&objects[name]).expect("UTF-8");
    text.lines().next().expect("a header").to_owned()
}

#[test]
fn a7_a_parameter_called_time_is_a_column_of_its_own() {
    let vehicles = [vehicle("vehicle_001", &["soc", "time"])];
    let (objects, manifest) = exported(&vehicles, ReferenceFormat::Csv);
    assert_eq!(header(&objects, "vehicle_001.csv"), "time,soc,time_2");
    assert_eq!(manifest.renamed_columns, renamed(&[("time", "time_2")]));
    assert_eq!(manifest.request.parameters, ["soc", "time"]);
    let (_, manifest) = exported(&vehicles, ReferenceFormat::Parquet);
    assert_eq!(manifest.renamed_columns, renamed(&[("time", "time_2")]));
}

#[test]
fn a8_columns_and_files_differ_regardless_of_case() {
    let parameters = ["soc", "SOC", "Straße", "STRASSE"];
    let vehicles = [vehicle("vehicle_BUS", &parameters), vehicle("vehicle_bus", &parameters)];
    for format in [ReferenceFormat::Csv, ReferenceFormat::Parquet] {
        let (objects, manifest) = exported(&vehicles, format);
        assert_eq!(manifest.renamed_columns, renamed(&[("SOC", "SOC_2"), ("Straße", "Straße_2")]));
        let entry = &manifest.vehicles[1].entry;
        assert!(objects.contains_key(entry) && entry.starts_with("vehicle_bus_2."), "{entry}");
        assert_eq!(manifest.renamed_files, renamed(&[("vehicle_bus", entry)]));
    }
}

#[test]
fn a8_vehicles_get_file_names_that_windows_accepts() {
    let vehicles = ["a:1", "a?1", "CON", "con", "manifest"].map(|name| vehicle(name, &["soc"]));
    let (objects, manifest) = exported(&vehicles, ReferenceFormat::Csv);
    let names: Vec<&str> = objects.keys().map(String::as_str).collect();
    assert_eq!(names, ["CON_.csv", "a_1.csv", "a_1_2.csv", "con__2.csv", "manifest.csv", "manifest.json"]);
    assert_eq!(
        manifest.renamed_files,
        renamed(&[("a:1", "a_1.csv"), ("a?1", "a_1_2.csv"), ("CON", "CON_.csv"), ("con", "con__2.csv")])
    );
}

#[test]
fn a8_the_longest_names_of_mongodb_are_exported() {
    let (one, other) = ("p".repeat(255), "P".repeat(255));
    let vehicles = [vehicle(&"v".repeat(63), &[&one, &other])];
    let (objects, _) = exported(&vehicles, ReferenceFormat::Csv);
    let name = format!("{}.csv", "v".repeat(63));
    assert_eq!(header(&objects, &name), format!("time,{other},{one}_2"));
}

#[test]
fn a8_ordinary_names_leave_no_trace_in_the_manifest() {
    let vehicles = [vehicle("vehicle_001", &["soc", "time_2", "say \"hi\""])];
    let (_, manifest) = exported(&vehicles, ReferenceFormat::Csv);
    let text = serde_json::to_string(&manifest).expect("JSON");
    assert!(!text.contains("renamed") && !text.contains("replaced"), "{text}");
}

#[test]
fn a11_a_column_named_like_a_formula_is_guarded() {
    let vehicles = [vehicle("vehicle_001", &["=1+1", "x;@y", "-5"])];
    let (objects, manifest) = exported(&vehicles, ReferenceFormat::Csv);
    assert_eq!(header(&objects, "vehicle_001.csv"), "time,-5,'=1+1,x;'@y");
    assert_eq!(manifest.renamed_columns, renamed(&[("=1+1", "'=1+1"), ("x;@y", "x;'@y")]));
    let (_, manifest) = exported(&vehicles, ReferenceFormat::Parquet);
    assert_eq!(manifest.renamed_columns, renamed(&[]));
}
