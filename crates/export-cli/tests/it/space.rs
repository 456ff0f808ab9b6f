//! A dump folder and a result folder for one test.

use std::fs;
use std::path::PathBuf;

use export_fleet::FleetSpec;
use export_fleet::dump::write_vehicle;
use export_testkit::dump::write_dump;
use export_testkit::oddities::OddFleet;
use export_testkit::program::{Ended, Program};
use export_testkit::reference::SourceVehicle;
use tempfile::TempDir;

/// The program.
pub(crate) const EXPORTS: &str = env!("CARGO_BIN_EXE_exports");
/// The day of all data here.
pub(crate) const DAY: [&str; 4] = ["--from", "2018-11-30", "--to", "2018-12-01"];

/// Two temporary folders, deleted at the end of the test.
pub(crate) struct Space {
    root: TempDir,
}

impl Space {
    /// Creates both folders, empty.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("dump")).expect("a folder");
        fs::create_dir(root.path().join("results")).expect("a folder");
        Self { root }
    }

    /// With these vehicles in the dump.
    pub(crate) fn with_vehicles(vehicles: &[SourceVehicle]) -> Self {
        let space = Self::new();
        write_dump(&space.dump(), vehicles, false).expect("a dump");
        space
    }

    /// With one vehicle in the dump, whose zip has some hundreds of kilobytes.
    pub(crate) fn with_dense_vehicle() -> Self {
        let space = Self::new();
        let fleet = FleetSpec {
            seed: 3,
            vehicles: 1,
            first_hour_ms: 1_543_536_000_000,
            hours: 12,
            vehicle_prefix: "vehicle_".to_owned(),
            oddities: false,
            rhythm: export_fleet::Rhythm::Paired,
        };
        write_vehicle(&space.dump(), &fleet.vehicle(0)).expect("a dump");
        space
    }

    pub(crate) fn dump(&self) -> PathBuf {
        self.root.path().join("dump")
    }

    /// Path of a result with this name.
    pub(crate) fn result(&self, name: &str) -> PathBuf {
        self.root.path().join("results").join(name)
    }

    /// The names in the result folder, hidden ones included, sorted.
    pub(crate) fn results(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path().join("results")).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// `exports run` of the day, from the dump to a result of this name.
    pub(crate) fn program(&self, result: &str, more: &[&str]) -> Program {
        let (dump, result) = (self.dump(), self.result(result));
        let paths = ["run", "--dump", dump.to_str().expect("UTF-8"), "-o", result.to_str().expect("UTF-8")];
        Program::new(EXPORTS, &[&paths, &DAY[..], more].concat(), &[])
    }

    /// Runs it.
    pub(crate) fn run(&self, result: &str, more: &[&str]) -> Ended {
        self.program(result, more).run()
    }
}

/// A fleet's vehicles as stored documents, with names that begin with the prefix.
pub(crate) fn stored(fleet: &OddFleet, prefix: &str) -> Vec<SourceVehicle> {
    let vehicles = fleet.vehicles.iter().map(|vehicle| SourceVehicle {
        database: format!("{prefix}{}", vehicle.suffix),
        collections: vehicle
            .collections
            .iter()
            .map(|(name, hours)| ((*name).to_owned(), hours.iter().cloned().map(Into::into).collect()))
            .collect(),
    });
    vehicles.collect()
}
