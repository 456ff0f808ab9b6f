//! Checks that a program survives standard streams that it cannot write to.

use crate::program::{BrokenStream, Ended, Program};

/// Exit code of a panic, also where its message cannot be printed.
const PANICKED: i32 = 101;

/// Panics if the program has panicked or was killed by a signal.
pub fn assert_no_panic(ended: &Ended, what: &str) {
    let is_well = ended.code.is_some_and(|code| code != PANICKED) && !ended.output.contains("panicked");
    assert!(is_well, "{what}: {:?}: {}", ended.code, ended.output);
}

/// Runs a program that succeeds and prints a result. Without a reader it must succeed too and
/// report nothing; a full disk must be an error. Panics otherwise.
pub fn assert_result_may_be_lost(what: &str, make_program: &dyn Fn() -> Program) {
    for stream in BrokenStream::ALL {
        let ended = make_program().with_stdout(stream).run();
        assert_no_panic(&ended, what);
        let error = "cannot write to standard output";
        if stream == BrokenStream::FullDisk {
            assert!(ended.code != Some(0), "{what}: a full disk is no error: {}", ended.output);
            let error = format!("{error}: No space left on device");
            assert!(ended.output.contains(&error), "{what}: {}", ended.output);
        } else {
            assert_eq!(ended.code, Some(0), "{what}: {stream:?}: {}", ended.output);
            assert!(!ended.output.contains(error), "{what}: {stream:?}: {}", ended.output);
        }
    }
    assert_notes_may_be_lost(what, make_program, 0);
}

/// Runs a program whose lines on standard error cannot be written. Panics if it does not exit with
/// this code.
pub fn assert_notes_may_be_lost(what: &str, make_program: &dyn Fn() -> Program, code: i32) {
    for stream in BrokenStream::ALL {
        let ended = make_program().with_stderr(stream).run();
        assert_no_panic(&ended, what);
        assert_eq!(ended.code, Some(code), "{what}: standard error: {stream:?}: {}", ended.output);
    }
}
