//! Download links: presigned, short-lived, each for one object.

use std::fmt::Write;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use export_core::{JobId, Tenant};

use crate::bucket::ResultBucket;
use crate::error::S3Error;
use crate::key::own_prefix;

/// How long a download link is valid.
const LINK_LIFETIME: Duration = Duration::from_mins(15);
/// Links that are signed before the task yields its thread. Signing one is pure computation of well
/// under a millisecond.
const SIGNED_PER_YIELD: usize = 16;

/// The key of a zip, or the prefix of objects, that a result may have. Only
/// [`ResultBucket::address_of`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultAddress(String);

impl ResultAddress {
    /// The key or the prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the text is one level of a key: some servers take `..` and `/` for paths.
fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\\', '\0'])
}

impl ResultBucket {
    /// The address in a URI, if workers of this service store results of this id there. `None` if
    /// the URI names another bucket, another prefix, or the place of another result or tenant: no
    /// document, whatever it says, makes this service sign a link to another object.
    pub fn address_of(&self, uri: &str, tenant: &Tenant, result_id: JobId) -> Option<ResultAddress> {
        let key =
            uri.strip_prefix("s3://")?.strip_prefix(self.settings.bucket.as_str())?.strip_prefix('/')?;
        let own = format!("{}{}", self.settings.key_prefix, own_prefix(tenant, result_id));
        let rest = key.strip_prefix(own.as_str())?;
        let is_one_level = is_name(rest.strip_suffix('/').unwrap_or(rest));
        is_one_level.then(|| ResultAddress(key.to_owned()))
    }

    /// A link to the object at this address, valid for 15 minutes, that downloads it under this
    /// name.
    pub async fn presign_download(&self, at: &ResultAddress, file_name: &str) -> Result<String, S3Error> {
        self.presign(&at.0, file_name).await
    }

    /// Links to objects under this address, each valid for 15 minutes, that download them under
    /// their own names.
    ///
    /// Makes no requests: the cost is one signature per name. The caller limits the number of
    /// names.
    pub async fn presign_objects(&self, at: &ResultAddress, names: &[&str]) -> Result<Vec<String>, S3Error> {
        let mut links = Vec::with_capacity(names.len());
        for name in names {
            if !at.0.ends_with('/') || !is_name(name) {
                return Err(S3Error::NotAName);
            }
            links.push(self.presign(&format!("{}{name}", at.0), name).await?);
            if links.len().is_multiple_of(SIGNED_PER_YIELD) {
                tokio::task::yield_now().await;
            }
        }
        Ok(links)
    }

    async fn presign(&self, key: &str, file_name: &str) -> Result<String, S3Error> {
        let config = PresigningConfig::expires_in(LINK_LIFETIME)
            .map_err(|error| S3Error::Presigning(Box::new(error)))?;
        let presigned = self
            .signer
            .get_object()
            .bucket(&self.settings.bucket)
            .key(key)
            .response_content_disposition(attachment(file_name))
            .presigned(config)
            .await
            .map_err(|error| S3Error::Presigning(Box::new(error)))?;
        Ok(presigned.uri().to_owned())
    }
}

/// `Content-Disposition` that saves a file under this name (RFC 6266).
///
/// A name with characters that could end the quotes, or that clients decode in different ways, is
/// given twice: with `_` for those characters, and exactly, in the encoding of RFC 8187. Clients
/// that support the second form prefer it.
pub fn attachment(file_name: &str) -> String {
    // The percent sign is not plain either: some browsers decode it, even in plain quotes.
    let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%');
    let plain: String = file_name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut disposition = format!("attachment; filename=\"{plain}\"");
    if plain != file_name {
        disposition.push_str("; filename*=UTF-8''");
        for byte in file_name.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                disposition.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(disposition, "%{byte:02X}");
            }
        }
    }
    disposition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_given_once() {
        for name in ["vehicle_001.csv.gz", "manifest.json", "it's; a=b, (c).parquet", ""] {
            assert_eq!(attachment(name), format!("attachment; filename=\"{name}\""));
        }
    }

    #[test]
    fn other_names_cannot_leave_their_quotes_and_arrive_exactly() {
        for (name, expected) in [
            ("Bus_ü.csv", "filename=\"Bus__.csv\"; filename*=UTF-8''Bus_%C3%BC.csv"),
            ("a\"; x=\"b\\", "filename=\"a_; x=_b_\"; filename*=UTF-8''a%22%3B%20x%3D%22b%5C"),
            ("100%25.csv", "filename=\"100_25.csv\"; filename*=UTF-8''100%2525.csv"),
            (
                "a\r\nSet-Cookie: b",
                "filename=\"a__Set-Cookie: b\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b",
            ),
        ] {
            assert_eq!(attachment(name), format!("attachment; {expected}"), "{name:?}");
        }
    }
}
