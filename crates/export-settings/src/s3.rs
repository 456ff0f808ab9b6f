//! The result bucket. The AWS SDK reads region, credentials and `AWS_ENDPOINT_URL_S3` by itself.

use crate::parser::{SettingParser, one_of, text, value};

/// For the end of `--help`: what the SDK reads by itself.
pub const AWS_HELP: &str = "S3's region, credentials and endpoint are those of every AWS program: AWS_REGION, AWS_ACCESS_KEY_ID, \
    AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3, profiles and roles. .env.example lists every setting.";

/// Where results are.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "S3")]
pub struct S3Settings {
    /// Name of the result bucket, such as `exports`
    #[arg(
        long = "s3-bucket",
        env = "S3_BUCKET",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        value_parser = text("the name of the result bucket: 3 to 63 of a-z, 0-9, - and .", is_bucket_name)
    )]
    pub bucket: String,
    /// Prefix of the results' keys
    #[arg(
        long = "s3-key-prefix",
        env = "S3_KEY_PREFIX",
        value_name = "PREFIX",
        default_value = "exports/",
        value_parser = key_prefix()
    )]
    pub key_prefix: String,
    /// `true` for S3 servers that have no host name per bucket, as most other than AWS: the bucket
    /// goes into the path
    #[arg(
        long = "s3-force-path-style",
        env = "S3_FORCE_PATH_STYLE",
        value_name = "BOOL",
        default_value = "false",
        value_parser = value::<bool>("true or false"),
        action = clap::ArgAction::Set
    )]
    pub force_path_style: bool,
    /// Endpoint in download links, such as `https://s3.example.com`, if clients reach S3 under
    /// another name than the services. Without it, the services' endpoint
    #[arg(
        long = "s3-public-endpoint-url",
        env = "S3_PUBLIC_ENDPOINT_URL",
        value_name = "URL",
        value_parser = endpoint_url()
    )]
    pub public_endpoint_url: Option<String>,
    /// Whether the content of uploads is signed: `auto` (over http only), `always` or `never`. Its
    /// CRC-32 is always sent and checked
    #[arg(
        long = "s3-payload-signing",
        env = "S3_PAYLOAD_SIGNING",
        value_name = "WHEN",
        default_value = "auto",
        value_parser = one_of("auto, always or never", &[
            ("auto", PayloadSigning::Auto),
            ("always", PayloadSigning::Always),
            ("never", PayloadSigning::Never),
        ])
    )]
    pub payload_signing: PayloadSigning,
}

/// Whether the content of an upload is signed. Its CRC-32 is always sent and checked.
///
/// Signing means a SHA-256 of every byte, which costs more than everything else in an upload. Over
/// https the content cannot be changed on the way, so leaving the signature out loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadSigning {
    /// Over http only.
    #[default]
    Auto,
    /// Also over https: for servers that refuse unsigned content.
    Always,
    /// Not even over http: for trusted networks.
    Never,
}

fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}

/// A prefix that ends with `/`.
fn key_prefix() -> SettingParser<String> {
    let expected = "at most 200 of A-Z, a-z, 0-9, -, _, . and /, not starting with /, without ..";
    SettingParser::new(expected, |prefix| {
        let is_plain = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
        let is_safe = is_plain && !prefix.starts_with('/') && !prefix.contains("..") && prefix.len() <= 200;
        let closed = || if prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
        is_safe.then(closed)
    })
}

fn endpoint_url() -> SettingParser<String> {
    // A path would be part of the links' signatures, and a proxy that removes it breaks them.
    let expected = "an http or https URL without a path, such as https://s3.example.com";
    SettingParser::new(expected, |text| {
        let url = url::Url::parse(text).ok()?;
        let is_endpoint = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        is_endpoint.then(|| text.trim_end_matches('/').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_flags;

    #[test]
    fn d7_a_public_endpoint_has_no_path() {
        let parse = |url: &str| {
            let flags = ["--s3-bucket=exports".to_owned(), format!("--s3-public-endpoint-url={url}")];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            from_flags::<S3Settings>(&flags).map(|settings| settings.public_endpoint_url)
        };
        for good in ["https://s3.example.com", "http://127.0.0.1:9100/"] {
            assert_eq!(parse(good), Ok(Some(good.trim_end_matches('/').to_owned())));
        }
        for wrong in ["https://example.com/s3", "https://example.com/?a=b", "https://example.com/#a", "s3"] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.contains("S3_PUBLIC_ENDPOINT_URL") && error.contains("without a path"), "{error}");
        }
    }

    #[test]
    fn payload_signing_is_one_of_three() {
        let parse = |more: &[&str]| {
            let flags = [&["--s3-bucket=exports"][..], more].concat();
            from_flags::<S3Settings>(&flags).map(|settings| settings.payload_signing)
        };
        assert_eq!(parse(&[]), Ok(PayloadSigning::Auto));
        assert_eq!(parse(&["--s3-payload-signing=always"]), Ok(PayloadSigning::Always));
        assert_eq!(parse(&["--s3-payload-signing=never"]), Ok(PayloadSigning::Never));
        let error = parse(&["--s3-payload-signing=hunter2"]).expect_err("none of them");
        assert!(error.contains("S3_PAYLOAD_SIGNING") && !error.contains("hunter2"), "{error}");
    }
}
