//! `SSL_CERT_FILE`: the certificate authorities that every TLS connection trusts instead of the
//! system's. The TLS libraries read the variable by themselves, so it has no flag.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use crate::value::SettingError;

/// The variable's name.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
const EXPECTED: &str = "a readable file with the certificates of authorities, in PEM format; without the variable, those of the system";
/// The first line of a certificate in PEM format.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
/// Most bytes of the file that are searched for a certificate.
const MAX_BYTES: u64 = 16 << 20;

/// Checks the file that the environment of this process names, if any. The libraries themselves
/// would go on without any authority, and every server would seem untrusted.
pub fn check() -> Result<(), SettingError> {
    check_given(std::env::var_os(SSL_CERT_FILE))
}

fn check_given(file: Option<OsString>) -> Result<(), SettingError> {
    match file {
        Some(file) if !has_certificate(&file) => {
            Err(SettingError::WrongVariable { name: SSL_CERT_FILE, expected: EXPECTED })
        }
        _ => Ok(()),
    }
}

fn has_certificate(file: &OsStr) -> bool {
    let Ok(file) = File::open(Path::new(file)) else { return false };
    let lines = BufReader::new(file.take(MAX_BYTES)).split(b'\n');
    // A folder gives an error for ever.
    lines.map_while(Result::ok).any(|line| line.trim_ascii() == BEGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            Some(path.into_os_string())
        };
        assert_eq!(check_given(None), Ok(()));
        let good = "# Ours\r\n-----BEGIN CERTIFICATE-----\r\nMIIB\r\n-----END CERTIFICATE-----\r\n";
        assert_eq!(check_given(file("good", good)), Ok(()));
        let key = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
        for wrong in [
            file("key", key),
            file("empty", ""),
            Some("/nowhere/hunter2.pem".into()),
            Some(String::new().into()),
            Some(folder.path().as_os_str().to_owned()),
        ] {
            let error = check_given(wrong).expect_err("no certificate").to_string();
            assert!(error.contains(SSL_CERT_FILE) && !error.contains("hunter2"), "{error}");
        }
    }
}
