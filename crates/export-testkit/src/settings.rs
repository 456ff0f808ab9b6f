//! The settings of the programs as `.env.example` lists them.
//!
//! A test of `export-settings` compares the file with the declarations, and tests of the programs
//! compare the programs with the file.

use std::path::Path;

/// A setting and the value that `.env.example` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub name: String,
    /// The default, or an example.
    pub value: String,
}

/// The settings that the program has as flags, with those for the files of secrets. `program` is a
/// name in brackets in `.env.example`.
pub fn settings_of(program: &str) -> Vec<Setting> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!(".env.example: {error}"));
    let mut programs: Vec<&str> = Vec::new();
    let mut settings = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        if let Some((_, list)) = line.strip_suffix(']').and_then(|line| line.rsplit_once('[')) {
            programs = list.split(", ").collect();
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        // The AWS SDK reads its own settings, and the key of the API has no flag.
        let has_flag = is_name && !name.starts_with("AWS_") && name != "EXPORTS_API_KEY";
        if has_flag && programs.contains(&program) {
            settings.push(Setting { name: name.to_owned(), value: value.to_owned() });
        }
    }
    settings
}

/// The program's settings as flags, each with its example, without the files of secrets. Values in
/// `<…>` only describe a secret, so they are left out.
pub fn example_flags(program: &str) -> Vec<String> {
    let settings = settings_of(program).into_iter();
    let examples =
        settings.filter(|Setting { name, value }| !name.ends_with("_FILE") && !value.starts_with('<'));
    let flags = examples.map(|Setting { name, value }| {
        let flag = name.to_lowercase().replace('_', "-");
        format!("--{flag}={value}")
    });
    flags.collect()
}
