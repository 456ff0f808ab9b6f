//! `.env.example` and the table in SETUP.md are what the declarations say.
//!
//! With `UPDATE_SETTINGS=1` the test writes them: `UPDATE_SETTINGS=1 cargo test -p
//! export-settings`.

mod declarations;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use declarations::{ENV_EXAMPLE_BEGIN, example_flags, settings};
use declarations::{TABLE_BEGIN, TABLE_END, env_example, table};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// Compares the file with what it should be, or writes it.
fn check(name: &str, expected: &str, found: &str) {
    if std::env::var_os("UPDATE_SETTINGS").is_some() {
        fs::write(path(name), expected).expect(name);
        return;
    }
    let differs = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert!(
        expected == found,
        "{name} is not what the declarations say, first here: {differs:?}. \
         Write it: UPDATE_SETTINGS=1 cargo test -p export-settings"
    );
}

#[test]
fn the_example_is_what_the_declarations_say() {
    let found = fs::read_to_string(path(".env.example")).expect(".env.example");
    let (containers, _) = found.split_once(ENV_EXAMPLE_BEGIN).expect("a part about the programs");
    check(".env.example", &format!("{containers}{}", env_example()), &found);
}

#[test]
fn the_table_is_what_the_declarations_say() {
    let found = fs::read_to_string(path("SETUP.md")).expect("SETUP.md");
    let (before, rest) = found.split_once(TABLE_BEGIN).expect("the beginning of the table");
    let (_, after) = rest.split_once(TABLE_END).expect("the end of the table");
    check("SETUP.md", &format!("{before}{}{after}", table()), &found);
}

#[test]
fn flags_have_the_names_of_the_variables() {
    for setting in settings() {
        let Some(flag) = &setting.flag else { continue };
        assert_eq!(flag.to_uppercase().replace('-', "_"), setting.name);
    }
    let names: Vec<String> = settings().into_iter().map(|setting| setting.name).collect();
    assert!(names.contains(&"EXPORTS_API_KEY".to_owned()) && names.contains(&"LEASE_SECONDS".to_owned()));
}
