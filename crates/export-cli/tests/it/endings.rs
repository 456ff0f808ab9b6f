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
    for flag in ["--from <DATE>", "--to <DATE>"] {
        assert!(without_range.output.contains(flag), "{}", without_range.output);
    }
    let without_source = Program::new(EXPORTS, &[&arguments, &DAY[..]].concat(), &[]).run();
    assert_fails(&space, &without_source, 2, &["--dump", "--mongodb-uri", "SOURCE_MONGODB_URI"]);
    let both_sources = space.run("export.zip", &["--mongodb-uri", "mongodb://h"]);
    assert_eq!(both_sources.code, Some(2), "{}", both_sources.output);
}

#[test]
fn the_error_about_an_unknown_vehicle_names_existing_ones() {
    let space = small();
    let ended = space.run("export.zip", &["--vehicles", "vehicle_404"]);
    assert_fails(&space, &ended, 1, &["there is no vehicle vehicle_404", "there are vehicle_id_int32"]);
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
