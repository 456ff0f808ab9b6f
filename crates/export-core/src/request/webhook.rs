//! The URL that receives a POST when a job ends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use super::FieldError;

/// Maximum length of a URL in bytes.
pub const MAX_WEBHOOK_URL_BYTES: usize = 2_048;
/// Lowest allowed port besides 80 and 443. Services of other protocols listen on lower ports, and
/// some of them would interpret parts of a request as commands.
const FIRST_OPEN_PORT: u16 = 1_024;

/// An http or https URL, as the client wrote it.
///
/// Whether the service may connect to its host is checked when an event is sent. Path and query may
/// hold a secret of the receiver, so `Debug` and logs show only the host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl {
    text: String,
    url: Url,
}

/// Why a text is not a valid webhook URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    /// Too long.
    #[error("is too long; at most {MAX_WEBHOOK_URL_BYTES} bytes are allowed")]
    TooLong,
    /// Not an http or https URL.
    #[error("expected an https URL such as https://example.com/hooks/exports")]
    NotAUrl,
    /// It has a user name or a password.
    #[error("must not hold a user name or password; what is sent is signed instead")]
    UserInfo,
    /// It has a fragment.
    #[error("must not have a fragment (#…), which is never sent")]
    Fragment,
    /// A port of another protocol.
    #[error("has a port that is not for the web; allowed are 80, 443, and 1024 and above")]
    Port,
}

impl WebhookUrl {
    /// The URL as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host in its canonical form, without the port.
    pub fn host(&self) -> Host<&str> {
        // Parsing has checked that there is a host.
        self.url.host().unwrap_or(Host::Domain(""))
    }

    /// The parsed URL.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        use WebhookUrlError as E;
        if text.len() > MAX_WEBHOOK_URL_BYTES {
            return Err(E::TooLong);
        }
        // URL parsers remove or replace these characters silently.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(E::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| E::NotAUrl)?;
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        if !matches!(url.scheme(), "http" | "https") || !has_host {
            return Err(E::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(E::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(E::Fragment);
        }
        let is_open = |port: u16| matches!(port, 80 | 443) || port >= FIRST_OPEN_PORT;
        if !url.port().is_none_or(is_open) {
            return Err(E::Port);
        }
        Ok(Self { text: text.to_owned(), url })
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = WebhookUrlError;

    fn try_from(text: String) -> Result<Self, WebhookUrlError> {
        text.parse()
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.text
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({}://{}/…)", self.url.scheme(), self.host())
    }
}

/// Parses the field; null means absent.
pub(super) fn parse(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Option<WebhookUrl> {
    const POINTER: &str = "/webhookUrl";
    match fields.get("webhookUrl") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => text
            .parse()
            .map_err(|error: WebhookUrlError| errors.push(FieldError::new(POINTER, error.to_string())))
            .ok(),
        Some(_) => {
            errors.push(FieldError::new(POINTER, "expected a string with an https URL"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_kept_as_written() {
        for text in [
            "https://example.com/hooks/exports?key=hunter2",
            "HTTPS://EXAMPLE.com:8443",
            "http://example.com:80/",
            "https://[2606:4700::1111]:3000/",
            "https://bücher.example/ä",
            "https://93.184.215.14",
        ] {
            let url: WebhookUrl = text.parse().expect(text);
            assert_eq!(url.as_str(), text);
            assert!(!format!("{url:?}").contains("hunter2"), "{url:?}");
        }
        let host = |text: &str| text.parse::<WebhookUrl>().expect(text).host().to_string();
        assert_eq!(host("http://0x7f.1/"), "127.0.0.1", "one spelling for each address");
        assert_eq!(host("http://2130706433/"), "127.0.0.1");
    }

    #[test]
    fn invalid_urls_are_rejected() {
        use WebhookUrlError as E;
        let long = format!("https://example.com/{}", "a".repeat(MAX_WEBHOOK_URL_BYTES));
        for (text, error) in [
            ("", E::NotAUrl),
            ("example.com", E::NotAUrl),
            ("ftp://example.com/", E::NotAUrl),
            ("file:///etc/passwd", E::NotAUrl),
            ("https://", E::NotAUrl),
            (" https://example.com", E::NotAUrl),
            ("https://exa\tmple.com", E::NotAUrl),
            ("https://example.com\\@evil.example", E::NotAUrl),
            ("https://user@example.com/", E::UserInfo),
            ("https://user:hunter2@example.com/", E::UserInfo),
            ("https://example.com/#there", E::Fragment),
            ("https://example.com:22/", E::Port),
            ("https://example.com:25/", E::Port),
            ("https://example.com:0/", E::Port),
            (&long, E::TooLong),
        ] {
            assert_eq!(text.parse::<WebhookUrl>(), Err(error), "{text}");
        }
    }
}
