//! Completion scripts and `--help`.

use std::fs;
use std::process::Command;

use export_testkit::program::Program;

use crate::space::EXPORTS;

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended = Program::new(EXPORTS, &["completions", shell], &[]).run();
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        for word in ["download", "idempotency-key", "retry-for"] {
            assert!(ended.output.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let file = tempfile::NamedTempFile::new().expect("a file");
            fs::write(file.path(), &ended.output).expect("written");
            let checked = Command::new("bash").arg("-n").arg(file.path()).output().expect("bash runs");
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    assert_eq!(Program::new(EXPORTS, &["completions", "cmd"], &[]).run().code, Some(2));
}

/// The help texts. After an intended change: `INSTA_UPDATE=always`.
#[test]
fn help() {
    for command in ["create", "get", "list", "cancel", "retry", "download", "vehicles", "completions"] {
        let ended = Program::new(EXPORTS, &[command, "--help"], &[("COLUMNS", "100")]).run();
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        insta::assert_snapshot!(format!("help of {command}"), ended.output);
    }
}
