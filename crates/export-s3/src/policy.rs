//! The services' rights to the bucket, as IAM policy documents. The S3 API itself cannot create
//! users.

use export_settings::s3::S3Settings;
use serde_json::json;

/// The service that a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The API, whose download links read objects.
    Api,
    /// The worker, which uploads objects.
    Worker,
}

/// The policy document of an identity: these actions on objects below the prefix, and nothing else.
///
/// All requests of a multipart upload except its abort need `s3:PutObject`. Neither identity has a
/// right to the bucket itself; [`crate::ResultBucket::check`] works without it.
pub fn policy(identity: Identity, settings: &S3Settings) -> String {
    let actions: &[&str] = match identity {
        Identity::Api => &["s3:GetObject"],
        Identity::Worker => &["s3:PutObject", "s3:AbortMultipartUpload"],
    };
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": actions,
            "Resource": format!("arn:aws:s3:::{}/{}*", settings.bucket, settings.key_prefix),
        }],
    });
    format!("{document:#}")
}

#[cfg(test)]
mod tests {
    use export_settings::from_flags;
    use export_settings::s3::S3Settings;

    use super::*;

    #[test]
    fn each_identity_has_its_own_actions_below_the_prefix() {
        let settings: S3Settings = from_flags(&["--s3-bucket=results"]).expect("settings");
        let statement = |identity| {
            let document: serde_json::Value =
                serde_json::from_str(&policy(identity, &settings)).expect("JSON");
            assert_eq!(document["Statement"].as_array().map(Vec::len), Some(1));
            document["Statement"][0].clone()
        };
        let resource = "arn:aws:s3:::results/exports/*";
        assert_eq!(
            statement(Identity::Api),
            json!({ "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": resource })
        );
        assert_eq!(statement(Identity::Worker)["Action"], json!(["s3:PutObject", "s3:AbortMultipartUpload"]));
        assert_eq!(statement(Identity::Worker)["Resource"], resource);
    }
}
