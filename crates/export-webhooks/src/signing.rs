//! Signatures of webhooks: HMAC-SHA256, as Standard Webhooks specifies.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use export_core::Tenant;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

/// Shortest key, in bytes: the length of a SHA-256.
const MIN_KEY_BYTES: usize = 32;
/// Longest key, in bytes. A longer one is probably a wrong file.
const MAX_KEY_BYTES: usize = 1_024;
/// Label of the derivation, so that the derived secrets differ from any other use of the key.
const LABEL: &[u8] = b"vehicle-exports webhook secret 1\0";
/// Prefix of the secrets of receivers.
const SECRET_PREFIX: &str = "whsec_";

/// The operator's key, from which every tenant's secret is derived.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

/// The text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64 of at least {MIN_KEY_BYTES} bytes")]
pub struct KeyError;

impl SigningKey {
    /// Parses base64 of at least 32 bytes.
    pub fn parse(text: &SecretString) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text.expose_secret().trim()).map_err(|_| KeyError)?;
        if (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&bytes.len()) {
            Ok(Self(bytes.into()))
        } else {
            Err(KeyError)
        }
    }

    /// The secret of this tenant's receivers.
    pub fn secret_of(&self, tenant: &Tenant) -> TenantSecret {
        TenantSecret(hmac(self.0.expose_secret(), &[LABEL, tenant.as_str().as_bytes()]).to_vec().into())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The secret with which a tenant's receivers verify signatures.
pub struct TenantSecret(SecretSlice<u8>);

impl TenantSecret {
    /// The secret as text: `whsec_` and base64, the format that receivers' libraries expect.
    pub fn reveal(&self) -> SecretString {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(self.0.expose_secret())).into()
    }

    /// The signature of a message: `v1,` and base64.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let timestamp = timestamp.to_string();
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        format!("v1,{}", STANDARD.encode(hmac(self.0.expose_secret(), &parts)))
    }
}

impl fmt::Debug for TenantSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantSecret(…)")
    }
}

/// The current key, and the previous one while receivers change over.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// Signs every webhook.
    pub current: SigningKey,
    /// Signs every webhook in addition.
    pub previous: Option<SigningKey>,
}

impl SigningKeys {
    /// The signatures of a message to this tenant's receivers, separated by spaces.
    pub fn sign(&self, tenant: &Tenant, id: &str, timestamp: i64, body: &[u8]) -> String {
        let keys = [Some(&self.current), self.previous.as_ref()];
        let signatures =
            keys.into_iter().flatten().map(|key| key.secret_of(tenant).sign(id, timestamp, body));
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::parse(&STANDARD.encode([byte; 32]).into()).expect("a key")
    }

    fn tenant(name: &str) -> Tenant {
        name.parse().expect("a tenant")
    }

    /// The test vector of the Standard Webhooks libraries.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let secret = TenantSecret(secret.into());
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(secret.reveal().expose_secret(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }

    // In Python: base64.b64encode(hmac.new(b"\1" * 32, b"vehicle-exports webhook secret 1\0acme",
    // "sha256").digest())
    #[test]
    fn every_tenant_has_its_own_stable_secret() {
        let secret =
            |key: &SigningKey, name: &str| key.secret_of(&tenant(name)).reveal().expose_secret().to_owned();
        assert_eq!(secret(&key(1), "acme"), "whsec_PnvqUnXoxiNu8qoGN9ILfYWZj2ImJGDCeWs1KOrdUSQ=");
        assert_ne!(secret(&key(1), "acme"), secret(&key(1), "acme2"));
        assert_ne!(secret(&key(1), "acme"), secret(&key(2), "acme"));
    }

    #[test]
    fn both_keys_sign_during_a_change() {
        let keys = SigningKeys { current: key(1), previous: Some(key(2)) };
        let signatures = keys.sign(&tenant("acme"), "id", 1, b"{}");
        let expected: Vec<_> =
            [key(1), key(2)].map(|key| key.secret_of(&tenant("acme")).sign("id", 1, b"{}")).into();
        assert_eq!(signatures.split(' ').collect::<Vec<_>>(), expected);
    }

    #[test]
    fn keys_are_long_enough_and_never_shown() {
        for wrong in [
            "",
            "hunter2",
            &STANDARD.encode([0; 31]),
            &STANDARD.encode(vec![0; 1_025]),
            &"x".repeat(44)[..43],
        ] {
            assert_eq!(SigningKey::parse(&wrong.into()).expect_err(wrong), KeyError);
        }
        let shown = format!("{:?} {:?}", key(1), key(1).secret_of(&tenant("acme")));
        assert_eq!(shown, "SigningKey(…) TenantSecret(…)");
    }
}
