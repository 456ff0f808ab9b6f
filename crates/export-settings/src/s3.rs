//! The result bucket. Credentials, region and `AWS_ENDPOINT_URL_S3` are read by the AWS SDK's own chain.

use std::str::FromStr;

use crate::value::{SettingError, optional, parsed_or, required};

/// Flags and variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// Bucket of the results
    #[arg(long, env = "S3_BUCKET", value_name = "NAME")]
    pub s3_bucket: Option<String>,
    /// What the keys of results begin with [default: exports/]
    #[arg(long, env = "S3_KEY_PREFIX", value_name = "PREFIX")]
    pub s3_key_prefix: Option<String>,
    /// `true` for S3-compatible servers that have no host name per bucket [default: false]
    #[arg(long, env = "S3_FORCE_PATH_STYLE", value_name = "BOOL")]
    pub s3_force_path_style: Option<String>,
    /// Endpoint that download links carry, where clients reach S3 by another name than this program
    #[arg(long, env = "S3_PUBLIC_ENDPOINT_URL", value_name = "URL")]
    pub s3_public_endpoint_url: Option<String>,
    /// Whether what is uploaded is part of the signature: `auto` (not over https), `always` or `never` [default: auto]
    #[arg(long, env = "S3_PAYLOAD_SIGNING", value_name = "WHEN")]
    pub s3_payload_signing: Option<String>,
}

/// Whether the content of an upload is signed. Its CRC-32 is sent and checked in any case.
///
/// Signing means a SHA-256 of every byte, which costs more than everything else in an upload. Over https nobody on the
/// way can change the content, so nothing is lost without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadSigning {
    /// Not over https.
    #[default]
    Auto,
    /// Also over https: for servers that refuse unsigned content.
    Always,
    /// Not even over http: for networks that are trusted.
    Never,
}

impl FromStr for PayloadSigning {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(()),
        }
    }
}

/// For the end of `--help`: what the SDK reads by itself.
pub const AWS_HELP: &str = "S3's region, credentials and endpoint are those of every AWS program: AWS_REGION, AWS_ACCESS_KEY_ID, \
    AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3, profiles and roles. .env.example lists every setting.";

/// Where results are.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// Bucket of the results.
    pub bucket: String,
    /// What their keys begin with; ends with `/` unless empty.
    pub key_prefix: String,
    /// Whether the bucket goes into the path of URLs.
    pub force_path_style: bool,
    /// Endpoint that download links carry.
    pub public_endpoint_url: Option<String>,
    /// Whether the content of uploads is signed.
    pub payload_signing: PayloadSigning,
}

impl S3Args {
    /// Checks the settings. Whether the bucket is there is found out later, and waited for.
    pub fn resolve(&self) -> Result<S3Settings, SettingError> {
        let bucket = required("S3_BUCKET", self.s3_bucket.as_ref(), "the name of the result bucket")?;
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        if !is_bucket {
            let expected = "a bucket name: 3 to 63 of a-z, 0-9, - and .";
            return Err(SettingError::Wrong { name: "S3_BUCKET", expected });
        }
        Ok(S3Settings {
            bucket: bucket.to_owned(),
            key_prefix: self.key_prefix()?,
            force_path_style: parsed_or(
                "S3_FORCE_PATH_STYLE",
                self.s3_force_path_style.as_ref(),
                false,
                "true or false",
            )?,
            public_endpoint_url: self.public_endpoint_url()?,
            payload_signing: parsed_or(
                "S3_PAYLOAD_SIGNING",
                self.s3_payload_signing.as_ref(),
                PayloadSigning::default(),
                "auto, always or never",
            )?,
        })
    }

    fn key_prefix(&self) -> Result<String, SettingError> {
        let prefix = optional(self.s3_key_prefix.as_ref()).unwrap_or("exports/");
        let is_plain = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
        let is_safe = is_plain && !prefix.starts_with('/') && !prefix.contains("..") && prefix.len() <= 200;
        if !is_safe {
            let expected = "at most 200 of A-Z, a-z, 0-9, -, _, . and /, not starting with /, without ..";
            return Err(SettingError::Wrong { name: "S3_KEY_PREFIX", expected });
        }
        Ok(if prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") })
    }

    fn public_endpoint_url(&self) -> Result<Option<String>, SettingError> {
        let wrong = || SettingError::Wrong {
            name: "S3_PUBLIC_ENDPOINT_URL",
            expected: "an http or https URL such as https://s3.example.com",
        };
        let Some(text) = optional(self.s3_public_endpoint_url.as_ref()) else { return Ok(None) };
        let parsed = url::Url::parse(text).map_err(|_| wrong())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(wrong());
        }
        Ok(Some(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_signing_is_one_of_three() {
        let resolve = |value: Option<&str>| {
            let args = S3Args {
                s3_bucket: Some("exports".to_owned()),
                s3_payload_signing: value.map(str::to_owned),
                ..S3Args::default()
            };
            args.resolve().map(|settings| settings.payload_signing)
        };
        assert_eq!(resolve(None), Ok(PayloadSigning::Auto));
        assert_eq!(resolve(Some("always")), Ok(PayloadSigning::Always));
        assert_eq!(resolve(Some("never")), Ok(PayloadSigning::Never));
        let error = resolve(Some("hunter2")).expect_err("none of them").to_string();
        assert!(error.contains("S3_PAYLOAD_SIGNING") && !error.contains("hunter2"), "{error}");
    }
}
