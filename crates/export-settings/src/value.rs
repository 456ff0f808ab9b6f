//! Errors of settings, and reading secrets.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

/// Largest secret file that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A setting that stops the program. Names the setting, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Needed and not given.
    #[error("{}", missing_text(.name, .expected))]
    Missing {
        /// The environment variable's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Given and not usable.
    #[error("{}", wrong_text(.name, .expected))]
    Wrong {
        /// The environment variable's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Given and not usable; there is a variable, but no flag.
    #[error("setting {name} is wrong: expected {expected} (see the variable {name})")]
    WrongVariable {
        /// The environment variable's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The file that should hold the secret cannot be read.
    #[error("setting {name}_FILE is wrong: the file cannot be read ({kind})")]
    UnreadableFile {
        /// The secret's name, without `_FILE`.
        name: &'static str,
        /// What the operating system said.
        kind: std::io::ErrorKind,
    },
    /// Given directly and by a file.
    #[error("settings {name} and {name}_FILE are both set: keep one of them")]
    Twice {
        /// The secret's name, without `_FILE`.
        name: &'static str,
    },
}

pub(crate) fn missing_text(name: &str, expected: &str) -> String {
    format!("setting {name} is missing: {expected} (set the variable {name} or the flag {})", flag_of(name))
}

pub(crate) fn wrong_text(name: &str, expected: &str) -> String {
    format!(
        "setting {name} is wrong: expected {expected} (see the variable {name} or the flag {})",
        flag_of(name)
    )
}

fn flag_of(name: &str) -> String {
    format!("--{}", name.to_ascii_lowercase().replace('_', "-"))
}

/// The value without surrounding spaces, if it is given and not blank.
pub fn optional(value: Option<&String>) -> Option<&str> {
    value.map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// A secret: from the setting itself or from the file that `<name>_FILE` names, without the line
/// break at its end.
pub fn secret(
    name: &'static str,
    value: Option<&SecretString>,
    file: Option<&String>,
) -> Result<Option<SecretString>, SettingError> {
    let value = value.map(|value| value.expose_secret().trim()).filter(|value| !value.is_empty());
    match (value, optional(file)) {
        (Some(_), Some(_)) => Err(SettingError::Twice { name }),
        (Some(value), None) => Ok(Some(value.into())),
        (None, Some(path)) => read_secret(name, Path::new(path)).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_secret(name: &'static str, path: &Path) -> Result<SecretString, SettingError> {
    let unreadable = |error: std::io::Error| SettingError::UnreadableFile { name, kind: error.kind() };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_SECRET_BYTES {
        return Err(SettingError::UnreadableFile { name, kind: std::io::ErrorKind::FileTooLarge });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    // Editors add line breaks, and some begin a file with a mark of its encoding.
    Ok(text.trim_start_matches('\u{feff}').trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_setting_the_variable_and_the_flag() {
        let error = SettingError::Missing { name: "MONGODB_URI", expected: "a URI" };
        let text =
            "setting MONGODB_URI is missing: a URI (set the variable MONGODB_URI or the flag --mongodb-uri)";
        assert_eq!(error.to_string(), text);
        let error = SettingError::Wrong { name: "MONGODB_URI", expected: "a URI" };
        let text = "setting MONGODB_URI is wrong: expected a URI (see the variable MONGODB_URI or the flag --mongodb-uri)";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn blank_is_not_given() {
        assert_eq!(optional(Some(&"  ".to_owned())), None);
        let secret = secret("MONGODB_URI", Some(&" ".into()), Some(&String::new())).expect("not given");
        assert!(secret.is_none());
    }

    #[test]
    fn secrets_come_from_files_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("uri");
        std::fs::write(&path, "mongodb://user:pass@host\n").expect("a file");
        let file = path.to_string_lossy().into_owned();
        let read = secret("MONGODB_URI", None, Some(&file)).expect("readable").expect("given");
        assert_eq!(read.expose_secret(), "mongodb://user:pass@host");
        let both = secret("MONGODB_URI", Some(&"x".into()), Some(&file));
        assert_eq!(both.expect_err("ambiguous"), SettingError::Twice { name: "MONGODB_URI" });
        let missing = secret("MONGODB_URI", None, Some(&"/nowhere/uri".to_owned())).expect_err("no file");
        assert!(missing.to_string().contains("MONGODB_URI_FILE"), "{missing}");
    }
}
