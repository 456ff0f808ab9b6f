//! Turning the texts of flags and variables into values.

use std::path::Path;
use std::str::FromStr;

use secrecy::SecretString;

/// Largest secret file that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A setting that stops the program. Names the setting, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Needed and not given.
    #[error("setting {name} is missing: {expected} (set the variable {name} or the flag {})", flag_of(.name))]
    Missing {
        /// The environment variable's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Given and not usable.
    #[error("setting {name} is wrong: expected {expected} (see the variable {name} or the flag {})", flag_of(.name))]
    Wrong {
        /// The environment variable's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Given and not usable, and no flag but a variable only.
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

fn flag_of(name: &str) -> String {
    format!("--{}", name.to_ascii_lowercase().replace('_', "-"))
}

/// The value as given, where it is given and not blank.
pub fn optional(value: Option<&String>) -> Option<&str> {
    value.map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// A value that must be there.
pub fn required<'a>(
    name: &'static str,
    value: Option<&'a String>,
    expected: &'static str,
) -> Result<&'a str, SettingError> {
    optional(value).ok_or(SettingError::Missing { name, expected })
}

/// A value of some type, where it is given.
pub fn parsed<T: FromStr>(
    name: &'static str,
    value: Option<&String>,
    expected: &'static str,
) -> Result<Option<T>, SettingError> {
    optional(value).map(|text| text.parse().map_err(|_| SettingError::Wrong { name, expected })).transpose()
}

/// A value of some type, or its default.
pub fn parsed_or<T: FromStr>(
    name: &'static str,
    value: Option<&String>,
    default: T,
    expected: &'static str,
) -> Result<T, SettingError> {
    Ok(parsed(name, value, expected)?.unwrap_or(default))
}

/// A secret: from the setting itself or from the file that `<name>_FILE` names, without its closing line break.
pub fn secret(
    name: &'static str,
    value: Option<&String>,
    file: Option<&String>,
) -> Result<Option<SecretString>, SettingError> {
    match (optional(value), optional(file)) {
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
    Ok(text.trim_end_matches(['\n', '\r']).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn errors_name_the_setting_and_never_its_value() {
        let given = "hunter2".to_owned();
        let error = parsed::<u16>("PORT", Some(&given), "a port from 0 to 65535").expect_err("no port");
        let text = error.to_string();
        assert!(text.contains("PORT") && text.contains("--port") && !text.contains("hunter2"), "{text}");
        let error = required("MONGODB_URI", None, "a URI").expect_err("missing");
        assert_eq!(
            error.to_string(),
            "setting MONGODB_URI is missing: a URI (set the variable MONGODB_URI or the flag --mongodb-uri)"
        );
    }

    #[test]
    fn blank_is_not_given() {
        assert_eq!(optional(Some(&"  ".to_owned())), None);
        assert_eq!(parsed_or("PORT", Some(&String::new()), 3000_u16, "a port"), Ok(3000));
    }

    #[test]
    fn secrets_come_from_files_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("uri");
        std::fs::write(&path, "mongodb://user:pass@host\n").expect("a file");
        let file = path.to_string_lossy().into_owned();
        let read = secret("MONGODB_URI", None, Some(&file)).expect("readable").expect("given");
        assert_eq!(read.expose_secret(), "mongodb://user:pass@host");
        let both = secret("MONGODB_URI", Some(&"x".to_owned()), Some(&file));
        assert_eq!(both.expect_err("ambiguous"), SettingError::Twice { name: "MONGODB_URI" });
        let missing = secret("MONGODB_URI", None, Some(&"/nowhere/uri".to_owned())).expect_err("no file");
        assert!(missing.to_string().contains("MONGODB_URI_FILE"), "{missing}");
    }
}
