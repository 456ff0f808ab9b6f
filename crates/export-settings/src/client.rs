//! `EXPORTS_API_URL` and `EXPORTS_API_KEY`: how the command line finds the API and says who it is.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::authorities;
use crate::parser::SettingParser;
use crate::value::{SettingError, secret};

/// The variable of the key. There is no such flag: everyone on a machine can see the flags of its
/// programs.
pub const KEY: &str = "EXPORTS_API_KEY";
const KEY_EXPECTED: &str = "a key as `exports keys create` printed it: visible ASCII characters only";
/// Longest key: tokens of login services have a few kilobytes, and no server takes headers beyond
/// this.
const MAX_KEY_BYTES: usize = 16 << 10;

/// Where the API is, and the caller's key, as given. The key itself comes from a variable or a file
/// only.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Service")]
pub struct ClientArgs {
    /// URL of the API, with what a proxy puts before `/export`
    // The default is the API of `cargo xtask up` and of the containers.
    #[arg(
        long,
        visible_alias = "api-url",
        env,
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:3000",
        value_parser = api_url()
    )]
    pub exports_api_url: Url,
    /// The caller's key, in a file; the variable `EXPORTS_API_KEY` holds the key itself, such as
    /// `the-key-as-it-was-printed`. It has no flag: everyone on a machine can see the flags of its
    /// programs. Not needed with `AUTH=none`
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub exports_api_key_file: Option<String>,
}

/// Where the API is, and who calls it.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Base URL of all requests.
    pub api_url: Url,
    /// The caller's key, if there is one.
    pub api_key: Option<SecretString>,
}

impl ClientArgs {
    /// Reads and checks the key, from the environment of this process or from the file.
    pub fn resolve(&self) -> Result<ClientSettings, SettingError> {
        authorities::check()?;
        let wrong_key = SettingError::WrongVariable { name: KEY, expected: KEY_EXPECTED };
        let given = match std::env::var(KEY) {
            Ok(key) => Some(key),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => return Err(wrong_key),
        };
        self.resolve_with(given.map(SecretString::from).as_ref(), wrong_key)
    }

    fn resolve_with(
        &self,
        key: Option<&SecretString>,
        wrong_key: SettingError,
    ) -> Result<ClientSettings, SettingError> {
        let api_key = secret(KEY, key, self.exports_api_key_file.as_ref())?;
        match &api_key {
            Some(key) if !is_key(key.expose_secret()) => Err(wrong_key),
            _ => Ok(ClientSettings { api_url: self.exports_api_url.clone(), api_key }),
        }
    }
}

fn api_url() -> SettingParser<Url> {
    let expected = "an http or https URL such as http://127.0.0.1:3000, without user, query or fragment";
    SettingParser::new(expected, |text| {
        let url = Url::parse(text).ok()?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        (matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain).then_some(url)
    })
}

fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_flags;

    fn parse(url: &str) -> Result<ClientArgs, String> {
        from_flags(&[&format!("--exports-api-url={url}")])
    }

    fn resolve(key: &str) -> Result<ClientSettings, SettingError> {
        let args: ClientArgs = from_flags(&[]).expect("the defaults");
        let wrong = SettingError::WrongVariable { name: KEY, expected: KEY_EXPECTED };
        args.resolve_with(Some(&key.into()), wrong)
    }

    #[test]
    fn urls() {
        assert_eq!(parse("").expect("the default").exports_api_url.as_str(), "http://127.0.0.1:3000/");
        let below = parse("https://fleet.test/api/v1/").expect("a URL").exports_api_url;
        assert_eq!(below.as_str(), "https://fleet.test/api/v1/");
        for wrong in [
            "hunter2",
            "ftp://hunter2",
            "http://u:hunter2@host",
            "http://host/?key=hunter2",
            "http://h/#hunter2",
        ] {
            let text = parse(wrong).expect_err(wrong);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn keys_are_never_printed() {
        assert!(resolve("hunter2").expect("a key").api_key.is_some());
        assert!(!format!("{:?}", resolve("hunter2")).contains("hunter2"));
        for wrong in ["hunter2\nhunter2", "hünter2", "hunter 2"] {
            let text = resolve(wrong).expect_err(wrong).to_string();
            assert!(text.contains(KEY) && !text.contains("nter") && !text.contains("--"), "{text}");
        }
    }
}
