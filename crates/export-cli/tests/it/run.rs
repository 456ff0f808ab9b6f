//! `exports run` writes the same bytes as the reference exporter, from a dump and from MongoDB.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use export_testkit::isolation::TestSpace;
use export_testkit::oddities;
use export_testkit::program::Program;
use export_testkit::reference::{
    ReferenceArchive, ReferenceCompression, ReferenceFormat, ReferenceOptions, ReferenceRequest,
    ReferenceTimeFormat, ReferenceVehicle, export_documents,
};
use export_testkit::verify;

use crate::space::{DAY, EXPORTS, Space, stored};

/// Flags, and the reference exporter's options for them.
fn kinds() -> Vec<(Vec<&'static str>, ReferenceOptions)> {
    let default = ReferenceOptions::default;
    vec![
        (vec![], default()),
        (
            vec![
                "--archive",
                "none",
                "--compression",
                "zstd",
                "--time-format",
                "rfc3339",
                "--csv-guard",
                "off",
            ],
            ReferenceOptions {
                archive: ReferenceArchive::None,
                compression: ReferenceCompression::Zstd,
                time_format: ReferenceTimeFormat::Rfc3339,
                guard: false,
                ..default()
            },
        ),
        (
            vec![
                "--archive",
                "none",
                "--step-ms",
                "60000",
                "--fill",
                "previous",
                "--fill-limit-ms",
                "150000",
                "--threads",
                "1",
            ],
            ReferenceOptions {
                archive: ReferenceArchive::None,
                step_ms: Some(60_000),
                fill_previous: true,
                fill_limit_ms: Some(150_000),
                ..default()
            },
        ),
        // The data has columns of text, so the export restarts.
        (vec!["--format", "parquet"], ReferenceOptions { format: ReferenceFormat::Parquet, ..default() }),
        (
            vec!["--format", "parquet", "--archive", "none"],
            ReferenceOptions {
                format: ReferenceFormat::Parquet,
                archive: ReferenceArchive::None,
                ..default()
            },
        ),
    ]
}

#[test]
fn a_dump_gives_what_the_reference_gives() {
    let fleet = oddities::one_day();
    let vehicles = stored(&fleet, "vehicle_");
    let space = Space::with_vehicles(&vehicles);
    for (flags, options) in kinds() {
        let request =
            ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, options, ..Default::default() };
        let expected = export_documents(&request, &vehicles);
        let ended = space.run("export", &flags);
        assert_eq!(ended.code, Some(0), "{flags:?}: {}", ended.output);
        let result = space.result("export");
        let outcome = match request.options.archive {
            ReferenceArchive::Zip => {
                verify::compare(File::open(&result).expect("a zip"), &request, &expected)
            }
            ReferenceArchive::None => {
                let objects = verify::read_folder(&result).expect("a folder");
                verify::compare_objects(&objects, &request, &expected)
            }
        };
        assert_eq!(outcome.err().map(|differences| differences.to_string()), None, "{flags:?}");

        // Range, figures, a warning and coverage, without a terminal.
        let lines: Vec<&str> = ended.output.lines().collect();
        assert_eq!(lines.len(), 4, "{}", ended.output);
        assert_eq!(lines[2], "warning: vehicle_empty has no value in the range");
        assert!(lines[3].starts_with("coverage: "), "{}", ended.output);
        let rows: u64 = expected.vehicles.iter().map(|vehicle| vehicle.rows).sum();
        let rejected: u64 = expected.vehicles.iter().map(ReferenceVehicle::rejected_point_count).sum();
        let vehicle_count = expected.vehicles.len();
        for figure in
            [format!("{vehicle_count} vehicles {rows} rows"), format!("rejected: {rejected} points")]
        {
            assert!(ended.output.replace(',', "").contains(&figure), "{figure}: {}", ended.output);
        }
        assert_eq!(space.results(), ["export"], "no other files are left");
        if result.is_dir() { fs::remove_dir_all(result) } else { fs::remove_file(result) }
            .expect("removable");
    }
}

#[test]
fn chosen_vehicles_and_parameters() {
    let fleet = oddities::one_day();
    let space = Space::with_vehicles(&stored(&fleet, "vehicle_"));
    let flags =
        ["--vehicles", "vehicle_zeros", "--vehicles", "vehicle_aligned", "--parameters", "odo,soc", "-q"];
    let ended = space.run("export", &[&flags[..], &["--archive", "none", "--compression", "none"]].concat());
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""));
    let objects = verify::read_folder(&space.result("export")).expect("a folder");
    let names: Vec<&str> = objects.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["manifest.json", "vehicle_aligned.csv", "vehicle_zeros.csv"]);
    assert!(objects[1].1.starts_with(b"time,odo,soc\n"));
}

#[test]
fn skipped_paths_of_a_dump_are_reported() {
    let space = Space::with_vehicles(&stored(&oddities::near_1970(), "vehicle_"));
    fs::create_dir(space.dump().join("vehicle_a b")).expect("a folder");
    let ended = space.run("export.zip", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(
        ended.output.contains("warning: skipped") && ended.output.contains("vehicle_a b"),
        "{}",
        ended.output
    );
}

#[test]
fn a5_a6_files_and_collections_that_are_not_read_are_reported() {
    let space = Space::with_vehicles(&stored(&oddities::near_1970(), "vehicle_"));
    let folder =
        fs::read_dir(space.dump()).expect("a dump").next().expect("a vehicle").expect("a folder").path();
    fs::write(folder.join("._soc.bson"), [0, 5, 22, 7]).expect("a file");
    fs::write(folder.join(".DS_Store"), [0]).expect("a file");
    let series = r#"{"indexes":[],"collectionName":"series","type":"timeseries"}"#;
    fs::write(folder.join("series.metadata.json"), series).expect("a file");
    fs::write(folder.join("system.buckets.series.bson"), "").expect("a file");
    let ended = space.run("export.zip", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    for text in
        ["mongodump has not written it: ", "._soc.bson", ".DS_Store", "not read (time series): ", ".series"]
    {
        assert!(ended.output.contains(text), "{text}: {}", ended.output);
    }
}

#[test]
fn a4_an_archive_is_refused_with_a_remedy() {
    let space = Space::new();
    fs::write(space.dump().join("fleet.archive"), [0x6d, 0xe2, 0x99, 0x81, 5, 0, 0, 0, 0]).expect("a file");
    let ended = space.run("export.zip", &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("fleet.archive") && ended.output.contains("mongorestore"),
        "{}",
        ended.output
    );
    assert!(space.results().is_empty(), "{:?}", space.results());
}

#[test]
fn results_have_the_permissions_of_other_files() {
    let space = Space::with_vehicles(&stored(&oddities::near_1970(), "vehicle_"));
    let mode =
        |name: &str| fs::metadata(space.result(name)).expect("the file exists").permissions().mode() & 0o777;
    File::create(space.result("a file")).expect("a file");
    fs::create_dir(space.result("a folder")).expect("a folder");
    assert_eq!(space.run("export.zip", &[]).code, Some(0));
    assert_eq!(space.run("export", &["--archive", "none"]).code, Some(0));
    assert_eq!((mode("export.zip"), mode("export")), (mode("a file"), mode("a folder")));
}

#[test]
fn the_synthetic_fleet_comes_as_a_dump_too() {
    let space = Space::new();
    let dump = space.dump();
    let demo = ["demo", "--vehicles", "2", "--days", "1", "--dump", dump.to_str().expect("UTF-8")];
    let demo = Program::new(EXPORTS, &demo, &[]);
    assert_eq!(demo.run().code, Some(0));
    let ended = space.run("export.zip", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.output.contains("2 vehicles"), "{}", ended.output);

    let again = demo.run();
    assert_eq!(again.code, Some(1));
    assert!(again.output.contains("is not empty"), "{}", again.output);
}

#[tokio::test]
async fn mongodb_gives_the_bytes_that_its_dump_gives() {
    let services = TestSpace::create().await;
    let fleet = oddities::one_day();
    services.insert_fleet(&fleet).await;
    let vehicles = stored(&fleet, &services.vehicle_prefix);
    let space = Space::with_vehicles(&vehicles);
    for (flags, _) in kinds() {
        let prefix = ["--vehicle-database-prefix", services.vehicle_prefix.as_str()];
        let from_dump = space.run("dump", &[&flags[..], &prefix].concat());
        assert_eq!(from_dump.code, Some(0), "{}", from_dump.output);
        let result = space.result("mongodb");
        let arguments =
            [&["run", "-o", result.to_str().expect("UTF-8")], &DAY[..], &flags[..], &prefix].concat();
        let program =
            Program::new(EXPORTS, &arguments, &[("SOURCE_MONGODB_URI", &services.services.mongodb_uri)]);
        let from_mongodb = program.run();
        assert_eq!(from_mongodb.code, Some(0), "{}", from_mongodb.output);
        let dump = space.result("dump");
        if result.is_dir() {
            let read = |folder| verify::read_folder(folder).expect("a folder");
            assert!(read(&result) == read(&dump), "{flags:?}");
            fs::remove_dir_all(result).expect("removable");
            fs::remove_dir_all(dump).expect("removable");
        } else {
            let read = |file| fs::read(file).expect("a zip");
            assert!(read(&result) == read(&dump), "{flags:?}");
            fs::remove_file(result).expect("removable");
            fs::remove_file(dump).expect("removable");
        }
    }

    // MongoDB's error is one line too.
    let result = space.result("none.zip");
    let arguments = [&["run", "-o", result.to_str().expect("UTF-8")], &DAY[..]].concat();
    let uri = services.services.mongodb_uri.as_str();
    let program = Program::new(EXPORTS, &[&arguments[..], &["--mongodb-uri", uri]].concat(), &[]);
    let prefix = format!("{}none_", services.vehicle_prefix);
    let ended = program.with("VEHICLE_DATABASE_PREFIX", &prefix).run();
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("there are no vehicles") && ended.output.contains(&prefix),
        "{}",
        ended.output
    );
    services.cleanup().await;
}

/// A mistake in the step is refused before anything is written; a row for each of 86,400,000
/// milliseconds of a day is allowed, and not tried here.
#[test]
fn c3_a_filled_export_with_too_many_rows_is_refused() {
    let space = Space::with_vehicles(&stored(&oddities::one_day(), "vehicle_"));
    let (dump, result) = (space.dump(), space.result("export.zip"));
    let paths = ["run", "--dump", dump.to_str().expect("UTF-8"), "-o", result.to_str().expect("UTF-8")];
    let century = ["--from", "1920-01-01", "--to", "2020-01-01", "--step-ms", "1", "--fill", "previous"];
    let ended = Program::new(EXPORTS, &[&paths, &century[..]].concat(), &[]).run();
    assert_eq!(ended.code, Some(2), "{}", ended.output);
    for text in ["with fill previous", "at most 10000000000 are allowed", "a longer step"] {
        assert!(ended.output.contains(text), "{}", ended.output);
    }
    assert_eq!(space.results(), [""; 0]);
}
