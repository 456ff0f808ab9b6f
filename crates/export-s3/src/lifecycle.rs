//! The bucket's lifecycle rules: they delete expired results and the parts of interrupted uploads.

use std::num::NonZeroU32;

use aws_sdk_s3::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter,
};

use crate::bucket::ResultBucket;
use crate::error::S3Error;

/// Days after which the bucket aborts an unfinished upload.
const UNFINISHED_DAYS: i32 = 1;
/// Days that an object exists beyond its job's `expiresAt`, so that no job points to a deleted
/// object.
const GRACE_DAYS: u32 = 2;
/// Ids of this program's rules among the bucket's rules.
const UNFINISHED_RULE: &str = "exports-abort-unfinished-uploads";
const EXPIRATION_RULE: &str = "exports-expire-results";
const SET: &str = "setting the bucket's lifecycle";

impl ResultBucket {
    /// Adds or replaces this program's rules; the bucket's other rules stay unchanged.
    pub(crate) async fn put_lifecycle(&self, retention_days: NonZeroU32) -> Result<(), S3Error> {
        let bucket = &self.settings.bucket;
        let found = match self.client.get_bucket_lifecycle_configuration().bucket(bucket).send().await {
            Ok(found) => found.rules.unwrap_or_default(),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Vec::new(),
            Err(error) => return Err(S3Error::sdk("reading the bucket's lifecycle")(error)),
        };
        let ours = rules(&self.settings.key_prefix, retention_days).map_err(S3Error::invalid_request(SET))?;
        let wanted = merged(found.clone(), ours);
        if wanted == found {
            return Ok(());
        }
        let lifecycle = BucketLifecycleConfiguration::builder().set_rules(Some(wanted)).build();
        let put = self.client.put_bucket_lifecycle_configuration().bucket(bucket);
        let put = put.lifecycle_configuration(lifecycle.map_err(S3Error::invalid_request(SET))?);
        put.send().await.map(drop).map_err(S3Error::sdk(SET))
    }
}

fn rules(prefix: &str, retention_days: NonZeroU32) -> Result<[LifecycleRule; 2], BuildError> {
    let rule = |name: &str| {
        LifecycleRule::builder()
            .id(name)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
    };
    let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(UNFINISHED_DAYS).build();
    let days = i32::try_from(retention_days.get().saturating_add(GRACE_DAYS)).unwrap_or(i32::MAX);
    let expiration = LifecycleExpiration::builder().days(days).build();
    Ok([
        rule(UNFINISHED_RULE).abort_incomplete_multipart_upload(abort).build()?,
        rule(EXPIRATION_RULE).expiration(expiration).build()?,
    ])
}

/// The existing rules, with this program's rules in place of those with the same ids.
fn merged(mut found: Vec<LifecycleRule>, ours: [LifecycleRule; 2]) -> Vec<LifecycleRule> {
    for rule in ours {
        match found.iter_mut().find(|known| known.id() == rule.id()) {
            // Servers may add fields to a rule, so an equivalent rule is kept as it is.
            Some(known) if is_same(known, &rule) => {}
            Some(known) => *known = rule,
            None => found.push(rule),
        }
    }
    found
}

fn is_same(known: &LifecycleRule, ours: &LifecycleRule) -> bool {
    let prefix = |rule: &LifecycleRule| rule.filter().and_then(|filter| filter.prefix().map(str::to_owned));
    let days = |rule: &LifecycleRule| rule.expiration().and_then(LifecycleExpiration::days);
    let unfinished = |rule: &LifecycleRule| {
        rule.abort_incomplete_multipart_upload()
            .and_then(AbortIncompleteMultipartUpload::days_after_initiation)
    };
    known.status() == ours.status()
        && prefix(known) == prefix(ours)
        && days(known) == days(ours)
        && unfinished(known) == unfinished(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(days: u32) -> [LifecycleRule; 2] {
        rules("exports/", NonZeroU32::new(days).expect("not zero")).expect("rules")
    }

    #[test]
    fn results_go_two_days_after_their_jobs_have_expired() {
        let [unfinished, expiration] = ours(7);
        assert_eq!(expiration.expiration().and_then(LifecycleExpiration::days), Some(9));
        assert_eq!(expiration.filter().and_then(LifecycleRuleFilter::prefix), Some("exports/"));
        assert!(
            unfinished.expiration().is_none() && unfinished.abort_incomplete_multipart_upload().is_some()
        );
    }

    #[test]
    fn rules_of_others_stay_and_ours_are_there_once() {
        let foreign = LifecycleRule::builder().id("theirs").status(ExpirationStatus::Disabled);
        let foreign = foreign.build().expect("a rule");
        let first = merged(vec![foreign.clone()], ours(7));
        assert_eq!(first.len(), 3);
        assert_eq!(first[0], foreign);
        assert_eq!(merged(first.clone(), ours(7)), first);
        let changed = merged(first.clone(), ours(30));
        assert_eq!(changed.len(), 3);
        assert_eq!(changed[..2], first[..2]);
        assert_eq!(changed[2].expiration().and_then(LifecycleExpiration::days), Some(32));
    }
}
