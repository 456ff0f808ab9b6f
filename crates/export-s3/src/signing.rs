//! Decides whether the content of an upload is part of its signature.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use export_settings::s3::PayloadSigning;

/// Leaves the content out of a request's signature if the setting says so.
///
/// The decision is made just before signing, because only then the scheme is known: the endpoint
/// may come from a variable, a profile or the region. The CRC-32 of the content is a header that is
/// always signed.
#[derive(Debug)]
pub(crate) struct SignPayload(pub(crate) PayloadSigning);

impl SignPayload {
    fn is_signed(&self, uri: &str) -> bool {
        match self.0 {
            PayloadSigning::Always => true,
            PayloadSigning::Never => false,
            PayloadSigning::Auto => !uri.starts_with("https:"),
        }
    }
}

impl Intercept for SignPayload {
    fn name(&self) -> &'static str {
        "SignPayload"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !self.is_signed(context.request().uri()) {
            config.interceptor_state().store_put(PayloadSigningOverride::unsigned_payload());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_replaces_the_signature_of_the_content() {
        let is_signed = |setting, uri| SignPayload(setting).is_signed(uri);
        assert!(!is_signed(PayloadSigning::Auto, "https://s3.example.com/exports/a"));
        assert!(is_signed(PayloadSigning::Auto, "http://s3.example.com/exports/a"));
        assert!(is_signed(PayloadSigning::Always, "https://s3.example.com/exports/a"));
        assert!(!is_signed(PayloadSigning::Never, "http://s3.example.com/exports/a"));
    }
}
