//! Failures of `exports run`: the exit code, a message that says what to do, and no files left
//! behind.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use export_testkit::oddities;
use export_testkit::program::{Ended, Program};

use crate::space::{DAY, EXPORTS, Space, stored};

/// Longest wait for the program to open the pipe.
const PATIENCE: Duration = Duration::from_secs(30);

fn small() -> Space {
    Space::with_vehicles(&stored(&oddities::near_1970(), "vehicle_"))
}

fn assert_fails(space: &Space, ended: &Ended, code: i32, words: &[&str]) {
    let output = &ended.output;
    assert_eq!(ended.code, Some(code), "{output}");
    for word in words {
        assert!(output.contains(word), "{word}: {output}");
    }
    assert!(output.lines().count() <= 3, "{output}");
    assert_eq!(space.results(), [""; 0], "no files are left: {output}");
}

#[test]
fn a_bad_request_names_the_flags() {
    let space = small();
    let flags = ["--time-format", "iso", "--vehicles", "a,a b", "--step-ms", "-5"];
    let words = ["--time-format: expected one of unix_ms", "--vehicle \"a b\"", "--step-ms"];
    assert_fails(&space, &space.run("export.zip", &flags), 2, &words);
    assert_fails(&space, &space.run("export.zip", &["--compression", "zstd"]), 2, &["--compression"]);
    assert_fails(&space, &space.run("..", &[]), 2, &["--output"]);

    let result = space.result("export.zip");
    let arguments = ["run", "-o", result.to_str().expect("UTF-8")];
    let without_range = Program::new(EXPORTS, &arguments, &[]).run();
    assert_eq!((without_range.code, space.results()), (Some(2), Vec::new()), "{}", without_range.output);
    for flag in ["--from: is required", "--to: is required"] {
        assert!(without_range.output.contains(flag), "{}", without_range.output);
    }
    let without_source = Program::new(EXPORTS, &[&arguments, &DAY[..]].concat(), &[]).run();
    assert_fails(&space, &without_source, 2, &["--dump", "--mongodb-uri", "SOURCE_MONGODB_URI"]);
    let both_sources = space.run("export.zip", &["--mongodb-uri", "mongodb://h"]);
    assert_eq!(both_sources.code, Some(2), "{}", both_sources.output);
}

#[test]
fn b2_unknown_names_are_refused_with_the_words_of_the_api() {
    let space = small();
    for (flags, words) in [
        (
            &["--vehicles", "vehicle_404"][..],
            &["--vehicle \"vehicle_404\": unknown vehicle; there are vehicle_id_int32"][..],
        ),
        (
            &["--vehicles", "vehicle_id_int23,vehicle_id_int32"],
            &["--vehicle \"vehicle_id_int23\": unknown vehicle; did you mean vehicle_id_int32? there are"],
        ),
        (
            &["--parameters", "soc, socc,nothing"],
            &[
                "--parameter \"socc\": unknown parameter: none of the vehicles asked for has it; did you mean soc? there are ",
                "--parameter \"nothing\": unknown parameter: none of the vehicles asked for has it; there are ",
            ],
        ),
    ] {
        assert_fails(&space, &space.run("export.zip", flags), 2, words);
    }
}

#[test]
fn b2_an_export_without_points_has_a_warning() {
    let space = small();
    // The data are of 1970.
    let ended = space.run("export.zip", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let warning = "warning: no vehicle has a value in the range";
    assert!(ended.output.lines().any(|line| line == warning), "{}", ended.output);
    let quiet = space.run("quiet.zip", &["--quiet"]);
    assert_eq!((quiet.code, quiet.output), (Some(0), format!("{warning}\n")));
}

/// Everything in the range is rejected, once with a number of points that is not known.
#[test]
fn b2_an_export_whose_points_were_all_rejected_says_what_they_were() {
    let space = small();
    let day_ms = 1_543_536_000_000_i64;
    let twice = bson::doc! { "_id": day_ms, "values": { "1": 1, "2": 2 }, "_iX": day_ms };
    let broken = bson::doc! { "_id": day_ms, "values": { "0": { "values": { "7": 7 } } } };
    for (document, from, to, expected) in [
        (twice, &b"_iX\0"[..], &b"_id\0"[..], "2 points, 1 document"),
        (broken, b"\x107\0", b"\x557\0", "1 bucket, an unknown number of points in them"),
    ] {
        let mut bytes = document.to_vec().expect("BSON");
        let at = bytes.windows(from.len()).position(|part| part == from).expect("it is there");
        bytes[at..at + to.len()].copy_from_slice(to);
        fs::write(space.dump().join("vehicle_id_int32/soc.bson"), bytes).expect("a file");
        let ended = space.run("export.zip", &["--force", "--vehicles", "vehicle_id_int32"]);
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        let warning =
            "warning: no vehicle has a value in the range; the manifest says what was found and rejected";
        assert!(ended.output.lines().any(|line| line == warning), "{}", ended.output);
        assert!(ended.output.contains(&format!("; rejected: {expected} (")), "{}", ended.output);
    }
}

#[test]
fn a6_a_collection_that_is_not_read_is_no_unknown_parameter() {
    let space = small();
    let metadata = r#"{ "collectionName": "ts", "type": "timeseries", "indexes": [] }"#;
    fs::write(space.dump().join("vehicle_id_int32/ts.metadata.json"), metadata).expect("a file");
    let ended = space.run("export.zip", &["--parameters", "ts,tss"]);
    let words = [
        "--parameter \"ts\": exports do not read this collection (time series)",
        "--parameter \"tss\": unknown parameter",
    ];
    assert_fails(&space, &ended, 2, &words);
}

#[test]
fn b1_lists_with_spaces_name_the_same_parameters() {
    let space = small();
    let flags = ["--archive", "none", "--compression", "none", "--parameters"];
    let ended = space.run("export", &[&flags[..], &[" soc ,\tsoc2"]].concat());
    assert_eq!(ended.code, Some(2), "{}", ended.output);
    let ended = space.run("export", &[&flags[..], &[" soc "]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    for name in space.results() {
        assert_eq!(name, "export");
    }
    let files =
        fs::read_dir(space.result("export")).expect("a folder").map(|file| file.expect("a file").path());
    for csv in files.filter(|path| path.extension().is_some_and(|extension| extension == "csv")) {
        assert!(fs::read(&csv).expect("a CSV").starts_with(b"time,soc\n"), "{}", csv.display());
    }
    fs::remove_dir_all(space.result("export")).expect("removable");
    for list in ["soc,", ",", "", "soc,soc"] {
        let ended = space.run("export", &[&flags[..], &[list]].concat());
        assert_fails(&space, &ended, 2, &["--parameter"]);
    }
}

#[test]
fn b6_the_resolved_range_is_printed() {
    let space = small();
    let arguments = |from, to| {
        let result = space.result("export.zip");
        let dump = space.dump();
        let paths = ["run", "--dump", dump.to_str().expect("UTF-8"), "-o", result.to_str().expect("UTF-8")];
        let range = ["--force", "--timezone", "europe/amsterdam", "--from", from, "--to", to];
        Program::new(EXPORTS, &[&paths[..], &range].concat(), &[]).run()
    };
    for (from, to, text) in [
        (
            "2018-11-30",
            "2018-12-01",
            "2018-11-30T00:00:00+01:00 up to, not including, 2018-12-01T00:00:00+01:00, 24 h",
        ),
        (
            "2018-03-25",
            "2018-03-26",
            "2018-03-25T00:00:00+01:00 up to, not including, 2018-03-26T00:00:00+02:00, 23 h",
        ),
        (
            "2018-10-28",
            "2018-10-29",
            "2018-10-28T00:00:00+02:00 up to, not including, 2018-10-29T00:00:00+01:00, 25 h",
        ),
    ] {
        let ended = arguments(from, to);
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert_eq!(
            ended.output.lines().next(),
            Some(format!("range: from {text}").as_str()),
            "{}",
            ended.output
        );
    }
    let ended = arguments("2018-11-30", "2018-11-30");
    assert_eq!(ended.code, Some(2), "{}", ended.output);
    let expected = "--to: is not part of the range; for all of 2018-11-30, give 2018-12-01";
    assert!(ended.output.contains(expected), "{}", ended.output);
}

#[test]
fn paths_that_cannot_be_written_are_reported() {
    let space = small();
    let nowhere = space.run("nowhere/export.zip", &[]);
    assert_fails(&space, &nowhere, 1, &["nowhere does not exist", "make the folder first"]);
    let folder = space.run("", &[]);
    assert_fails(&space, &folder, 1, &["is a folder", "export.zip"]);
    let dump = space.dump().join("nowhere");
    let result = space.result("export.zip");
    let paths = ["run", "--dump", dump.to_str().expect("UTF-8"), "-o", result.to_str().expect("UTF-8")];
    let no_dump = Program::new(EXPORTS, &[&paths, &DAY[..]].concat(), &[]).run();
    assert_fails(&space, &no_dump, 1, &["cannot read", "nowhere", "No such file"]);
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let space = small();
    let file = space.result("export.zip");
    fs::write(&file, "mine").expect("a file");
    let refused = space.run("export.zip", &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert!(
        refused.output.contains("exists already") && refused.output.contains("--force"),
        "{}",
        refused.output
    );
    assert_eq!(fs::read(&file).expect("the file exists"), b"mine");
    assert_eq!(space.run("export.zip", &["--force"]).code, Some(0));
    assert!(fs::read(&file).expect("the file exists").starts_with(b"PK"));
    assert_eq!(space.results(), ["export.zip"]);
}

#[test]
fn a_folder_is_replaced_only_when_it_is_an_export() {
    let space = small();
    let flags = ["--archive", "none", "--force"];
    assert_eq!(space.run("export", &flags).code, Some(0));
    assert_eq!(space.run("export", &flags[..2]).code, Some(1));
    let again = space.run("export", &[&flags[..], &["--compression", "none"]].concat());
    assert_eq!(again.code, Some(0), "{}", again.output);
    assert_eq!(space.results(), ["export"]);
    let names = || {
        let entries = fs::read_dir(space.result("export")).expect("a folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["manifest.json", "vehicle_id_int32.csv"], "the earlier export is gone");

    fs::write(space.result("export").join("diary.txt"), "mine").expect("a file");
    let refused = space.run("export", &flags);
    assert_eq!(refused.code, Some(1));
    assert!(refused.output.contains("diary.txt"), "{}", refused.output);
    assert_eq!(names().len(), 3);
}

#[test]
fn a_truncated_dump_is_reported_with_file_and_byte() {
    let space = Space::with_dense_vehicle();
    let path = space.dump().join("vehicle_001/soc.bson");
    let length = fs::metadata(&path).expect("the file exists").len();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(length - 7))
        .expect("a shorter file");
    for archive in ["zip", "none"] {
        let ended = space.run("export", &["--archive", archive]);
        assert_fails(&space, &ended, 1, &["soc.bson is cut short", "at byte", "make the dump again"]);
    }
}

/// A limit on the size of files acts like a full disk: also for root, and without a file system of
/// the test's own.
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let space = Space::with_dense_vehicle();
    for archive in ["zip", "none"] {
        let (dump, result) = (space.dump(), space.result("export"));
        let paths = ["run", "--dump", dump.to_str().expect("UTF-8"), "-o", result.to_str().expect("UTF-8")];
        // The shell counts in blocks of 512 or 1,024 bytes: less than the result in either case.
        let limited = ["-c", "ulimit -f 20; exec \"$0\" \"$@\"", EXPORTS];
        let arguments = [&limited, &paths[..], &DAY, &["--archive", archive]].concat();
        let ended = Program::new("/bin/sh", &arguments, &[]).run();
        assert_fails(&space, &ended, 1, &["cannot write", "export: File too large", "free some space"]);
    }
}

/// The dump's second vehicle is a pipe without data and without end, so the export is certainly
/// running when the signal comes.
#[test]
fn signals_in_the_middle_leave_nothing_behind() {
    for archive in ["zip", "none"] {
        let space = small();
        let pipe = space.dump().join("vehicle_z/soc.bson");
        fs::create_dir(space.dump().join("vehicle_z")).expect("a folder");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success(), "a pipe");
        let running = space.program("export", &["--archive", archive]).start();
        let writing = until_read(&pipe);
        let begun = space.results();
        assert!(begun.len() == 1 && begun[0].starts_with(".export.partial-"), "{begun:?}");
        let ended = if archive == "zip" { running.interrupt() } else { running.terminate() };
        assert_fails(&space, &ended, 130, &["interrupted"]);
        drop(writing);
    }
}

/// Waits until the program opens the pipe. Returns the writing end, which keeps the pipe open.
fn until_read(pipe: &Path) -> File {
    let (sender, receiver) = mpsc::channel();
    let pipe: PathBuf = pipe.to_owned();
    // Opening a pipe for writing blocks until it is opened for reading.
    thread::spawn(move || sender.send(OpenOptions::new().write(true).open(pipe)));
    receiver.recv_timeout(PATIENCE).expect("it reads the pipe").expect("a pipe")
}
