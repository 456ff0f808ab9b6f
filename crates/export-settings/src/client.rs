//! `EXPORTS_API_URL` and `EXPORTS_API_KEY`: how the command line finds the API and says who it is.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::value::{SettingError, optional, secret};

const URL: &str = "EXPORTS_API_URL";
const URL_EXPECTED: &str =
    "an http or https URL such as http://127.0.0.1:3000, without user, query or fragment";
/// Where the API of `cargo xtask up` and of the containers is.
const DEFAULT_URL: &str = "http://127.0.0.1:3000";
/// The variable of the key. There is no such flag: everybody on a machine can see the flags of its programs.
pub const KEY: &str = "EXPORTS_API_KEY";
const KEY_EXPECTED: &str = "a key as it was shown when it was made: visible ASCII characters only";
/// Longest key: tokens of login services have a few kilobytes, and no server takes headers beyond this.
const MAX_KEY_BYTES: usize = 16 << 10;

/// Flags and variables. The key itself comes from a variable or a file only.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Service")]
pub struct ClientArgs {
    /// URL of the API
    #[arg(
        long,
        help = "URL of the API, with what stands in front of /export [default: http://127.0.0.1:3000]",
        visible_alias = "api-url",
        env = "EXPORTS_API_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub exports_api_url: Option<String>,
    /// File that holds the key; the key itself goes into the variable `EXPORTS_API_KEY`, which has no flag
    #[arg(long, env = "EXPORTS_API_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub exports_api_key_file: Option<String>,
}

/// Where the API is, and who calls it.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// What all paths are below.
    pub api_url: Url,
    /// The caller's key, where there is one.
    pub api_key: Option<SecretString>,
}

impl ClientArgs {
    /// Checks the settings, with the key that this process was given. Whether the API answers is found out later.
    pub fn resolve(&self) -> Result<ClientSettings, SettingError> {
        let wrong_key = SettingError::WrongVariable { name: KEY, expected: KEY_EXPECTED };
        let given = match std::env::var(KEY) {
            Ok(key) => Some(key),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => return Err(wrong_key),
        };
        self.resolve_with(given.as_ref(), wrong_key)
    }

    fn resolve_with(
        &self,
        key: Option<&String>,
        wrong_key: SettingError,
    ) -> Result<ClientSettings, SettingError> {
        let text = optional(self.exports_api_url.as_ref()).unwrap_or(DEFAULT_URL);
        let api_url = api_url(text).ok_or(SettingError::Wrong { name: URL, expected: URL_EXPECTED })?;
        let api_key = secret(KEY, key, self.exports_api_key_file.as_ref())?;
        match &api_key {
            Some(key) if !is_key(key.expose_secret()) => Err(wrong_key),
            _ => Ok(ClientSettings { api_url, api_key }),
        }
    }
}

fn api_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain).then_some(url)
}

fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: Option<&str>, key: Option<&str>) -> Result<ClientSettings, SettingError> {
        let args = ClientArgs { exports_api_url: url.map(str::to_owned), exports_api_key_file: None };
        let wrong = SettingError::WrongVariable { name: KEY, expected: KEY_EXPECTED };
        args.resolve_with(key.map(str::to_owned).as_ref(), wrong)
    }

    #[test]
    fn urls() {
        assert_eq!(resolve(None, None).expect("the default").api_url.as_str(), "http://127.0.0.1:3000/");
        let below = resolve(Some("https://fleet.test/api/v1/"), None).expect("a URL").api_url;
        assert_eq!(below.as_str(), "https://fleet.test/api/v1/");
        for wrong in [
            "hunter2",
            "ftp://hunter2",
            "http://u:hunter2@host",
            "http://host/?key=hunter2",
            "http://h/#hunter2",
        ] {
            let text = resolve(Some(wrong), None).expect_err(wrong).to_string();
            assert!(text.contains(URL) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn keys_are_never_told() {
        assert!(resolve(None, Some("hunter2")).expect("a key").api_key.is_some());
        assert!(!format!("{:?}", resolve(None, Some("hunter2"))).contains("hunter2"));
        for wrong in ["hunter2\nhunter2", "hünter2", "hunter 2"] {
            let text = resolve(None, Some(wrong)).expect_err(wrong).to_string();
            assert!(text.contains(KEY) && !text.contains("nter") && !text.contains("--"), "{text}");
        }
    }
}
