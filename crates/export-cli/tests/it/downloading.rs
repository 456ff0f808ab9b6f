//! `exports download` from a store with faults: a file with the result's name is always the whole
//! result.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use export_testkit::program::{Ended, Program};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::client::{ID, KEY, checked, job, program};
use crate::space::EXPORTS;
use crate::stub::{Reply, Request, Stub};

/// A result of a few hundred kilobytes.
fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(|number| number.to_le_bytes()[..1].to_vec()).collect()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// An API with a finished job, and a store that answers as the test says.
struct Fixture {
    api: Stub,
    store: Arc<Stub>,
    folder: TempDir,
}

impl Fixture {
    fn new(store: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_job(finished(), store)
    }

    fn with_job(job: Value, store: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let store = Arc::new(Stub::start(store));
        let link = format!("{}/bucket/key.zip?X-Amz-Signature=secret", store.url());
        let api = Stub::start(move |request, before| {
            if request.target.ends_with("/download") {
                Reply::bytes(303, b"").with("location", &format!("{link}&link={before}"))
            } else {
                Reply::json(200, &job)
            }
        });
        Self { api, store, folder: tempfile::tempdir().expect("a folder") }
    }

    fn zip(&self) -> PathBuf {
        self.folder.path().join("export.zip")
    }

    fn program(&self, more: &[&str]) -> Program {
        let zip = self.zip();
        let arguments = ["download", ID, "-o", zip.to_str().expect("UTF-8"), "--retry-for", "5"];
        program(&self.api.url(), &[&arguments, more].concat())
    }

    fn run(&self) -> Ended {
        let ended = checked(self.program(&[]).run());
        for request in self.store.requests() {
            assert!(
                request.headers.iter().all(|(_, value)| !value.contains(KEY)),
                "the store gets the key: {request:?}"
            );
        }
        ended
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Asserts that the whole result is there and nothing else.
    fn assert_whole(&self, ended: &Ended) {
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert!(fs::read(self.zip()).expect("a file") == content(), "the bytes of the result");
        assert_eq!(self.names(), ["export.zip"], "{}", ended.output);
    }

    /// The `Range` header of each request to the store.
    fn ranges(&self) -> Vec<Option<String>> {
        self.store.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect()
    }
}

fn finished() -> Value {
    let mut job = job("FINISHED");
    job["stats"] = json!({ "rows": 1, "points": 1, "rejected": 0, "csvBytes": 1, "bytes": content().len(),
        "sha256": hex(&content()), "durationMs": 1, "peakMemoryBytes": 1 });
    job
}

/// A store without faults.
fn serve(request: &Request) -> Reply {
    let content = content();
    match request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
    {
        Some(from) if request.header("if-match") == Some("\"v1\"") => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            Reply::bytes(206, &content[from..]).with("content-range", &range).with("etag", "\"v1\"")
        }
        Some(_) => Reply::bytes(412, b"<Error><Code>PreconditionFailed</Code></Error>"),
        None => Reply::bytes(200, &content).with("etag", "\"v1\""),
    }
}

#[test]
fn a_cut_connection_costs_only_the_rest() {
    let place = Fixture::new(|request, before| match before {
        0 => serve(request).cut_after(100_000),
        1 => serve(request).cut_after(50_000),
        2 => Reply::bytes(503, b"<Error><Code>SlowDown</Code></Error>").with("retry-after", "0"),
        _ => serve(request),
    });
    place.assert_whole(&place.run());
    let rest = |from: u32| Some(format!("bytes={from}-"));
    assert_eq!(place.ranges(), [None, rest(100_000), rest(150_000), rest(150_000)]);
    let links: Vec<String> = place.store.lines();
    assert_ne!(links[0], links[1], "each try has a fresh link");
}

#[test]
fn a_later_download_resumes_where_an_earlier_one_was_cut() {
    let place = Fixture::new(|request, before| match before {
        0 => serve(request).cut_after(100_000),
        1 => Reply::bytes(503, b"").with("retry-after", "60"),
        _ => serve(request),
    });
    let ended = place.run();
    assert_eq!(ended.code, Some(6), "{}", ended.output);
    assert!(ended.output.contains("resumes where it stopped"), "{}", ended.output);
    assert_eq!(place.names(), ["export.zip.part", "export.zip.part.json"]);
    assert!(
        !fs::read_to_string(place.folder.path().join("export.zip.part.json")).expect("text").contains("http")
    );
    let ended = place.run();
    assert!(ended.output.contains("resuming after 100000 bytes"), "{}", ended.output);
    place.assert_whole(&ended);
    assert_eq!(place.ranges().last(), Some(&Some("bytes=100000-".to_owned())));
}

#[test]
fn a_wrong_part_is_downloaded_again() {
    let place = Fixture::new(|request, _| serve(request));
    let mark = json!({ "export": ID, "object": null, "etag": "\"v1\"" });
    fs::write(place.folder.path().join("export.zip.part.json"), mark.to_string()).expect("a mark");
    fs::write(place.folder.path().join("export.zip.part"), [7; 1_000]).expect("a part");
    let ended = place.run();
    assert!(ended.output.contains("starting over"), "{}", ended.output);
    place.assert_whole(&ended);

    // A part of another object, or one with an unreadable mark.
    for mark in [json!({ "export": ID, "object": null, "etag": "\"v0\"" }), json!("unreadable")] {
        let place = Fixture::new(|request, _| serve(request));
        fs::write(place.folder.path().join("export.zip.part.json"), mark.to_string()).expect("a mark");
        fs::write(place.folder.path().join("export.zip.part"), [7; 1_000]).expect("a part");
        place.assert_whole(&place.run());
    }
}

#[test]
fn stores_without_ranges_and_links_that_expire() {
    let ignores = Fixture::new(|_, before| {
        let whole = Reply::bytes(200, &content()).with("etag", "\"v1\"");
        if before == 0 { whole.cut_after(100_000) } else { whole }
    });
    ignores.assert_whole(&ignores.run());
    let without_etag = Fixture::new(|_, before| {
        let whole = Reply::bytes(200, &content());
        if before == 0 { whole.cut_after(100_000) } else { whole }
    });
    without_etag.assert_whole(&without_etag.run());
    assert_eq!(
        without_etag.ranges(),
        [None, None],
        "without an ETag the rest may be of another file, so all is fetched"
    );
    let another_part = Fixture::new(|request, before| match before {
        0 => serve(request).cut_after(100_000),
        1 => Reply::bytes(206, &content()[7..]).with("content-range", "bytes 7-299999/300000"),
        _ => serve(request),
    });
    another_part.assert_whole(&another_part.run());
    let expired = Fixture::new(|request, before| match before {
        0 => serve(request).cut_after(100_000),
        1 => Reply::bytes(
            403,
            b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        ),
        _ => serve(request),
    });
    expired.assert_whole(&expired.run());

    let refused = Fixture::new(|_, _| Reply::bytes(403, b"<Error><Code>AccessDenied</Code></Error>"));
    let ended = refused.run();
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("403") && ended.output.contains("AccessDenied"), "{}", ended.output);
    assert_eq!(refused.store.lines().len(), 4);
}

#[test]
fn a_wrong_file_never_has_the_name() {
    let mut wrong = content();
    wrong[7] ^= 1;
    let tampered = Fixture::new(move |_, _| Reply::bytes(200, &wrong).with("etag", "\"v1\""));
    let ended = tampered.run();
    assert_eq!(ended.code, Some(7), "{}", ended.output);
    assert!(ended.output.contains(&hex(&content())), "{}", ended.output);
    assert!(tampered.names().is_empty(), "{:?}", tampered.names());

    for bytes in [[&content()[..], b"more"].concat(), content()[..1_000].to_vec()] {
        let resized = Fixture::new(move |_, _| Reply::bytes(200, &bytes).with("etag", "\"v1\""));
        let ended = resized.run();
        assert_eq!(ended.code, Some(7), "{}", ended.output);
        assert!(resized.names().is_empty(), "{:?}", resized.names());
    }
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let place = Fixture::new(|request, _| serve(request));
    fs::write(place.zip(), "mine").expect("a file");
    let ended = place.run();
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("--force"), "{}", ended.output);
    assert_eq!((fs::read(place.zip()).expect("a file"), place.store.lines().len()), (b"mine".to_vec(), 0));
    place.assert_whole(&checked(place.program(&["--force"]).run()));

    let ended = checked(program(&place.api.url(), &["download", ID, "-o", "/nowhere/export.zip"]).run());
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("make the folder first"), "{}", ended.output);
}

/// A limit on the size of files acts like a full disk: also for root, and without a file system of
/// the test's own.
#[test]
fn a_full_disk_is_reported_and_the_bytes_are_kept() {
    let place = Fixture::new(|request, _| serve(request));
    let zip = place.zip();
    // The shell counts in blocks of 512 or 1,024 bytes: less than the result in either case.
    let limited = [
        "-c",
        "ulimit -f 100; exec \"$0\" \"$@\"",
        EXPORTS,
        "download",
        ID,
        "-o",
        zip.to_str().expect("UTF-8"),
    ];
    let settings = [("EXPORTS_API_URL", place.api.url())];
    let program = Program::new("/bin/sh", &limited, &[]);
    let program = settings.iter().fold(program, |program, (name, value)| program.with(name, value));
    let ended = checked(program.run());
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("File too large") && ended.output.contains("free some space"),
        "{}",
        ended.output
    );
    assert_eq!(place.names(), ["export.zip.part", "export.zip.part.json"]);
    place.assert_whole(&place.run());
    assert!(place.ranges().last().is_some_and(Option::is_some), "the rest only: {:?}", place.ranges());
}

/// The store stops in the middle, so the download is certainly not finished when it is interrupted.
#[test]
fn an_interrupted_download_says_how_to_resume() {
    let place = Fixture::new(|request, before| match before {
        0 => serve(request).cut_after(100_000),
        1 => Reply::bytes(503, b"").with("retry-after", "4"),
        _ => serve(request),
    });
    let mut running = place.program(&[]).start();
    running.until_written("retrying");
    let ended = checked(running.interrupt());
    assert_eq!(ended.code, Some(130), "{}", ended.output);
    assert!(ended.output.contains(&format!("exports download {ID}")), "{}", ended.output);
    assert!(place.names().contains(&"export.zip.part".to_owned()), "{:?}", place.names());
}

#[test]
fn names_of_files_cannot_leave_the_folder() {
    for name in ["../escaped", "/tmp/escaped", "a/b", "..", "", "a\\b"] {
        let mut job = finished();
        job["archive"] = "none".into();
        let name = name.to_owned();
        let api = Stub::start(move |request, _| {
            if request.target.ends_with("/download") {
                let object = |name: &str| json!({ "name": name, "bytes": 4, "downloadUrl": null });
                Reply::json(200, &json!({ "objects": [object(&name), object("manifest.json")] }))
            } else {
                Reply::json(200, &job)
            }
        });
        let folder = tempfile::tempdir().expect("a folder");
        let result = folder.path().join("export");
        let ended = program(&api.url(), &["download", ID, "-o", result.to_str().expect("UTF-8")]).run();
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        assert!(ended.output.contains("which is not accepted as the name of a file"), "{}", ended.output);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
