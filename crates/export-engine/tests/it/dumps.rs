//! Folders as mongodump and the people who copy them leave them: shortened names, old versions,
//! files of other programs, empty files, time series and views.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bson::{Document, doc};
use export_core::request::ExportRequest;
use export_core::source::UnreadReason;
use export_engine::{DumpError, DumpSource, LeftOutReason, plan};
use export_testkit::dump::{file_name, write_dump};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::SourceVehicle;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{InMemory, Run, archive};

const START_MS: i64 = 1_543_536_000_000;

fn hour(value: i64) -> Document {
    HourBuilder::new(START_MS).points((0..20).map(|i| (START_MS + i * 300, value + i))).build()
}

/// A vehicle with these collections, and its dump.
struct Dump {
    root: TempDir,
    vehicle: SourceVehicle,
}

impl Dump {
    fn of(names: &[&str], is_compressed: bool) -> Self {
        let collections = names
            .iter()
            .zip(0..)
            .map(|(name, number)| ((*name).to_owned(), vec![hour(number * 1_000).into()]));
        let vehicle =
            SourceVehicle { database: "vehicle_001".to_owned(), collections: collections.collect() };
        let root = tempfile::tempdir().expect("a folder");
        write_dump(root.path(), std::slice::from_ref(&vehicle), is_compressed).expect("a dump");
        Self { root, vehicle }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("vehicle_001")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder().join(name), content).expect("a file");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.folder().join(from), self.folder().join(to)).expect("renamed");
    }

    fn open(&self) -> DumpSource {
        DumpSource::open(self.root.path(), "vehicle_").expect("a dump")
    }

    /// Fails unless the dump gives the bytes that a server with the same collections gives.
    fn assert_like_server(&self) {
        let vehicles = std::slice::from_ref(&self.vehicle);
        let (dump, server) = (self.open(), InMemory(vehicles));
        let of_dump = plan(&request(), &dump).expect("a plan");
        let of_server = plan(&request(), &server).expect("a plan");
        assert_eq!(of_dump.parameters, of_server.parameters);
        let from_dump = archive(&of_dump, &dump).expect("an export");
        assert!(from_dump == archive(&of_server, &server).expect("an export"), "other bytes");
    }

    fn error(&self) -> String {
        let error = plan(&request(), &self.open()).expect_err("no plan");
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    fn unread(&self) -> BTreeMap<String, UnreadReason> {
        let source = self.open();
        let plan = plan(&request(), &source).expect("a plan");
        let exported = Run::default().export(&plan, &source).expect("an export");
        let groups = &exported.manifest.vehicles[0].unread_collections;
        let named = groups.iter().flat_map(|(reason, group)| {
            assert_eq!(group.count, group.names.len() as u64);
            group.names.iter().map(|name| (name.clone(), *reason))
        });
        named.collect()
    }

    fn left_out(&self, reason: LeftOutReason) -> Vec<String> {
        let source = self.open();
        let paths = source.left_out().iter().filter(|left_out| left_out.reason == reason);
        let mut names: Vec<String> = paths
            .map(|left_out| left_out.path.file_name().expect("a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn request() -> ExportRequest {
    ExportRequest::parse(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).expect("a request")
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, content).expect("memory");
    encoder.finish().expect("memory")
}

/// 27 characters of Japanese are 243 bytes when they are escaped.
fn long_name(end: &str) -> String {
    format!("{}{end}", "電池残量".repeat(8))
}

#[test]
fn a4_shortened_names_are_taken_from_the_metadata() {
    let (one, other) = (long_name("一"), long_name("二"));
    let names = [one.as_str(), &other, &"電".repeat(27), "soc", "a b", "a+b", "50%", "é/ü"];
    for is_compressed in [false, true] {
        let dump = Dump::of(&names, is_compressed);
        dump.assert_like_server();
    }
    // A folder in which only the documents, or only the metadata, were unpacked.
    let dump = Dump::of(&names, true);
    let stem = file_name(&one);
    let packed = fs::read(dump.folder().join(format!("{stem}.metadata.json.gz"))).expect("metadata");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).expect("gzip");
    fs::remove_file(dump.folder().join(format!("{stem}.metadata.json.gz"))).expect("removed");
    dump.write(&format!("{stem}.metadata.json"), plain);
    dump.assert_like_server();
}

#[test]
fn a4_a_shortened_name_without_its_metadata_is_an_error() {
    let name = long_name("一");
    let stem = file_name(&name);
    let metadata = format!("{stem}.metadata.json");
    let dump = Dump::of(&[&name, "soc"], false);
    for broken in ["", "{", r#"{"indexes":[]}"#, r#"{"collectionName":7}"#] {
        dump.write(&metadata, broken);
        let error = dump.error();
        assert!(
            error.contains(&stem) && error.contains("metadata.json") && error.contains("copy"),
            "{error}"
        );
    }
    fs::remove_file(dump.folder().join(&metadata)).expect("removed");
    assert!(dump.error().contains("missing or damaged"), "{}", dump.error());
}

/// Versions before 2019 did not escape names, those before 2020 escaped like paths. Neither wrote
/// `collectionName`; servers before 4.4 named the collection in its indexes.
#[test]
fn a4_names_of_old_versions_are_those_of_their_server() {
    for (name, stem) in [("a%20b", "a%20b"), ("100%", "100%"), ("a+b c", "a+b c"), ("x,y", "x,y")] {
        let dump = Dump::of(&[name], false);
        let today = file_name(name);
        dump.rename(&format!("{today}.bson"), &format!("{stem}.bson"));
        fs::remove_file(dump.folder().join(format!("{today}.metadata.json"))).expect("removed");
        let index =
            json!({ "v": 1, "key": { "_id": 1 }, "name": "_id_", "ns": format!("vehicle_001.{name}") });
        dump.write(&format!("{stem}.metadata.json"), json!({ "indexes": [index] }).to_string());
        dump.assert_like_server();
    }
    // Without any name in the metadata: a plus and a lone `%` stay.
    for (name, stem) in [("a+b c", "a+b%20c"), ("100% a", "100%%20a")] {
        let dump = Dump::of(&[name], false);
        let today = file_name(name);
        dump.rename(&format!("{today}.bson"), &format!("{stem}.bson"));
        fs::remove_file(dump.folder().join(format!("{today}.metadata.json"))).expect("removed");
        dump.write(&format!("{stem}.metadata.json"), r#"{"indexes":[]}"#);
        dump.assert_like_server();
    }
    // Without metadata the name is read as today's version writes it.
    let dump = Dump::of(&["a b", "a+b"], false);
    for name in ["a+b", "a%2Bb"] {
        fs::remove_file(dump.folder().join(format!("{name}.metadata.json"))).expect("removed");
    }
    dump.assert_like_server();
}

/// A file system that ignores case keeps one file for two collections; the metadata says which.
#[test]
fn a4_the_metadata_wins_over_the_name_of_the_file() {
    let dump = Dump::of(&["SOC"], false);
    dump.rename("SOC.bson", "soc.bson");
    dump.rename("SOC.metadata.json", "soc.metadata.json");
    dump.assert_like_server();

    let twice = Dump::of(&["soc"], false);
    for extension in ["bson", "metadata.json"] {
        let folder = twice.folder();
        fs::copy(folder.join(format!("soc.{extension}")), folder.join(format!("copy.{extension}")))
            .expect("a copy");
    }
    let error = twice.error();
    assert!(error.contains("soc.bson") && error.contains("copy.bson") && error.contains("same"), "{error}");

    let broken = Dump::of(&["soc"], false);
    broken.write("soc.metadata.json", "{");
    broken.assert_like_server();
    assert_eq!(broken.left_out(LeftOutReason::BrokenMetadata), ["soc.metadata.json"]);
}

#[test]
fn a4_names_of_vehicles_are_not_escaped_and_links_are_followed() {
    let dump = Dump::of(&["soc"], false);
    let moved = dump.root.path().join("elsewhere");
    fs::rename(dump.folder(), &moved).expect("moved");
    symlink(&moved, dump.root.path().join("vehicle_a%20b")).expect("a link");
    let source = dump.open();
    let vehicles = export_core::source::Source::vehicles(&source).expect("vehicles");
    assert_eq!(vehicles, ["vehicle_a%20b".parse().expect("a vehicle")]);

    symlink("nowhere", dump.root.path().join("vehicle_002")).expect("a link");
    let error = DumpSource::open(dump.root.path(), "vehicle_").expect_err("a vehicle is missing");
    assert!(error.to_string().contains("vehicle_002"), "{error}");
}

#[test]
fn a4_an_archive_is_an_error_that_says_what_to_do() {
    let root = tempfile::tempdir().expect("a folder");
    let archive =
        [&[0x6d, 0xe2, 0x99, 0x81][..], &doc! { "version": "0.1" }.to_vec().expect("BSON")].concat();
    let path = root.path().join("fleet.archive");
    let open = |path: &Path| DumpSource::open(path, "vehicle_").expect_err("no dump");
    for (content, is_packed) in [(archive.clone(), false), (packed(&archive), true)] {
        fs::write(&path, content).expect("a file");
        for at in [path.as_path(), root.path()] {
            let error = open(at);
            assert!(
                matches!(error, DumpError::Archive { is_compressed, .. } if is_compressed == is_packed),
                "{error}"
            );
            let text = error.to_string();
            assert_eq!(text.contains("--gzip"), is_packed, "{text}");
            assert!(text.contains("mongorestore --archive=") && text.contains("fleet.archive"), "{text}");
        }
    }
    fs::write(&path, "text").expect("a file");
    assert!(matches!(open(&path), DumpError::NotAFolder { .. }));
    assert!(matches!(open(root.path()), DumpError::NoVehicles { .. }));
}

#[test]
fn a5_files_of_other_programs_are_ignored_and_reported() {
    let dump = Dump::of(&["soc"], false);
    let files = [
        "._soc.bson",
        "._soc.metadata.json",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        ".~lock.soc.bson#",
        ".soc.bson.swp",
        "soc.bson~",
        "soc.bson.bak",
        "#soc.bson#",
        ".soc.bson",
        "notes.txt",
        "soc.bson.zst",
        "~$soc.bson",
    ];
    for name in files {
        dump.write(name, [0, 5, 22, 7]);
    }
    for folder in ["__MACOSX", "old.bson", ".git"] {
        fs::create_dir(dump.folder().join(folder)).expect("a folder");
    }
    dump.write("prelude.json", "{}");
    fs::create_dir(dump.root.path().join("__MACOSX")).expect("a folder");
    fs::write(dump.root.path().join("._vehicle_001"), [0, 5, 22, 7]).expect("a file");
    dump.assert_like_server();
    let mut expected: Vec<&str> =
        [&files[..], &["__MACOSX", "__MACOSX", "old.bson", ".git", "._vehicle_001"]].concat();
    expected.sort_unstable();
    assert_eq!(dump.left_out(LeftOutReason::NotOfDump), expected);
    // Even where every folder is a vehicle.
    let all = DumpSource::open(dump.root.path(), "").expect("a dump");
    let vehicles = export_core::source::Source::vehicles(&all).expect("vehicles");
    assert_eq!(vehicles.len(), 1);
}

#[test]
fn a5_an_empty_file_is_an_empty_collection() {
    for (name, content) in [("soc.bson", vec![]), ("soc.bson.gz", vec![]), ("soc.bson.gz", packed(&[]))] {
        let mut dump = Dump::of(&["odo"], false);
        dump.write(name, content);
        dump.vehicle.collections.insert("soc".to_owned(), Vec::new());
        dump.assert_like_server();
    }
}

#[test]
fn a5_broken_metadata_without_documents_is_a_missing_file() {
    let dump = Dump::of(&["odo"], false);
    dump.write("soc.metadata.json", "");
    dump.write("a%2Fb.metadata.json", "{ \"indexes\": [");
    dump.write("system.buckets.speed.metadata.json.gz", "no gzip");
    let expected = [
        ("soc", UnreadReason::FileMissing),
        ("a/b", UnreadReason::FileMissing),
        ("speed", UnreadReason::TimeSeries),
    ];
    assert_eq!(dump.unread(), expected.map(|(name, reason)| (name.to_owned(), reason)).into());
    assert_eq!(dump.left_out(LeftOutReason::BrokenMetadata).len(), 3);
}

#[test]
fn a6_collections_of_a_dump_that_are_not_read_are_in_the_manifest() {
    let dump = Dump::of(&["odo"], false);
    let metadata =
        |name: &str, kind: &str| json!({ "indexes": [], "collectionName": name, "type": kind }).to_string();
    // A time series of servers before 8.3, and one of later ones.
    dump.write("soc.metadata.json", metadata("soc", "timeseries"));
    dump.write("system.buckets.soc.bson", doc! { "_id": 1 }.to_vec().expect("BSON"));
    dump.write("speed.metadata.json", metadata("speed", "timeseries"));
    dump.write("speed.bson", doc! { "_id": 1 }.to_vec().expect("BSON"));
    let long = long_name("一");
    dump.write(&format!("{}.metadata.json", file_name(&long)), metadata(&long, "timeseries"));
    dump.write(&format!("{}.bson", file_name(&format!("system.buckets.{long}"))), "");
    dump.write("view.metadata.json", metadata("view", "view"));
    dump.write("old_view.metadata.json", r#"{"options":{"viewOn":"odo","pipeline":[]},"indexes":[]}"#);
    dump.write("system.js.bson", "");
    dump.write("$admin.system.users.bson", "");
    dump.write("lost.metadata.json", metadata("lost", "collection"));
    dump.write("a%24b.bson", "");
    let expected = [
        ("soc", UnreadReason::TimeSeries),
        ("speed", UnreadReason::TimeSeries),
        (long.as_str(), UnreadReason::TimeSeries),
        ("view", UnreadReason::View),
        ("old_view", UnreadReason::View),
        ("system.js", UnreadReason::System),
        ("$admin.system.users", UnreadReason::System),
        ("lost", UnreadReason::FileMissing),
        ("a$b", UnreadReason::UnusableName),
    ];
    assert_eq!(dump.unread(), expected.map(|(name, reason)| (name.to_owned(), reason)).into());

    // Only what the request covers.
    let asked = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "parameters": ["odo", "soc"] });
    let plan = plan(&ExportRequest::parse(&asked).expect("a request"), &dump.open()).expect("a plan");
    let names: Vec<&str> = plan.unread().map(|(_, unread)| unread.name.as_str()).collect();
    assert_eq!(names, ["soc"]);
}

#[test]
fn a6_an_ordinary_vehicle_has_no_unread_collections() {
    assert!(Dump::of(&["odo", "soc"], true).unread().is_empty());
}
