//! The program with standard output or standard error that cannot be written.

use export_testkit::printing::{assert_notes_may_be_lost, assert_result_may_be_lost};
use export_testkit::program::Program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_exports-api");

#[test]
fn b10_results_and_errors_without_a_reader() {
    for flags in [&["--help"][..], &["--version"], &["help"], &["healthcheck", "--help"]] {
        assert_result_may_be_lost(flags[0], &|| Program::new(PROGRAM, flags, &[]));
    }
    assert_result_may_be_lost("openapi", &|| Program::new(PROGRAM, &["openapi"], &[]));
    // Settings are missing; a setting is wrong; no such flag.
    assert_notes_may_be_lost("no settings", &|| Program::new(PROGRAM, &[], &[]), 2);
    let wrong = [("ADMIN_ADDR", "nowhere")];
    assert_notes_may_be_lost("a setting", &|| Program::new(PROGRAM, &["healthcheck"], &wrong), 2);
    assert_notes_may_be_lost("a flag", &|| Program::new(PROGRAM, &["--no-such-flag"], &[]), 2);
    // Nothing listens on port 1.
    let address = [("ADMIN_ADDR", "127.0.0.1:1")];
    assert_notes_may_be_lost("not running", &|| Program::new(PROGRAM, &["healthcheck"], &address), 1);
}

#[test]
fn b5_the_version_names_the_zone_data() {
    let ended = Program::new(PROGRAM, &["--version"], &[]).run();
    let version = export_core::zone::program_version();
    assert_eq!((ended.code, ended.output), (Some(0), format!("exports-api {version}\n")));
}
