//! API keys: their format and their stored form.
//!
//! A key is `vxk_<id>_<secret>`: a prefix that secret scanners recognise, a public id that logs and
//! the list of keys show, and 256 random bits. Only a hash of the secret is stored. It need not be
//! a slow hash, because 2²⁵⁶ secrets cannot be tried.
//!
//! A key consists of digits, lowercase letters and underscores, so that a double click selects all
//! of it and no shell or URL needs to escape it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Tenant;
use crate::access::{AllowedVehicles, Principal, Scope};
use crate::digest::{hex, is_hex};
use crate::id::text_name;

/// The prefix of every key.
pub const PREFIX: &str = "vxk_";
/// Number of random bytes of a new key: first those of the id, then those of the secret.
pub const RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// Maximum length of a key's name, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Why a text is not a key, the id of a key or the name of a key. Never repeats the text, which may
/// be a key with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not in the format of a key.
    #[error("not a key: expected vxk_, 16 hexadecimal digits, _ and 64 more")]
    NotAKey,
    /// Not in the format of an id.
    #[error("not the id of a key: expected vxk_ and 16 hexadecimal digits")]
    NotAnId,
    /// Not a valid name.
    #[error("not a name for a key: expected at most 100 characters on one line")]
    NotAName,
}

text_name!(
    /// The public id of a key: `vxk_` and 16 hexadecimal digits.
    KeyId,
    KeyError,
    KeyError::NotAnId,
    |text| text.strip_prefix(PREFIX).is_some_and(|digits| is_hex(digits, ID_BYTES))
);

/// A key as its owner sends it. Only [`ApiKey::reveal`] shows the secret.
#[derive(Clone)]
pub struct ApiKey {
    id: KeyId,
    /// As hexadecimal digits.
    secret: String,
}

impl ApiKey {
    /// Creates a key from these random bytes, which must come from a cryptographically secure
    /// source.
    pub fn new(random: &[u8; RANDOM_BYTES]) -> Self {
        let (id, secret) = random.split_at(ID_BYTES);
        Self { id: KeyId(format!("{PREFIX}{}", hex(id))), secret: hex(secret) }
    }

    /// Whether the text has the prefix of a key, unlike a token of an identity provider.
    pub fn has_prefix(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The key's public id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The hash of the secret, which is stored.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.secret.as_bytes()).into())
    }

    /// The whole key, to be shown once.
    pub fn reveal(&self) -> String {
        format!("{}_{}", self.id, self.secret)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id.0).finish_non_exhaustive()
    }
}

impl FromStr for ApiKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (id, secret) = text.rsplit_once('_').ok_or(KeyError::NotAKey)?;
        let id = id.parse().map_err(|_| KeyError::NotAKey)?;
        if is_hex(secret, SECRET_BYTES) {
            Ok(Self { id, secret: secret.to_owned() })
        } else {
            Err(KeyError::NotAKey)
        }
    }
}

/// SHA-256 of a key's secret.
#[derive(Clone)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash as stored: hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Reads a stored hash; `None` if the text is not one.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if !is_hex(text, bytes.len()) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Compares two hashes in constant time.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

text_name!(
    /// The name that its owner gives a key.
    #[derive(Default)]
    KeyName,
    KeyError,
    KeyError::NotAName,
    |text| text.chars().count() <= MAX_NAME_CHARS && !text.chars().any(char::is_control)
);

/// A key as stored, without its secret.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The key's public id.
    pub id: KeyId,
    /// Hash of the secret.
    pub hash: KeyHash,
    /// The tenant of its owner.
    pub tenant: Tenant,
    /// The name given by its owner.
    pub name: KeyName,
    /// The permissions of its owner.
    pub scopes: Vec<Scope>,
    /// The vehicles that its owner may see.
    pub vehicles: AllowedVehicles,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    /// When the key expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl StoredKey {
    /// Whether this stored key belongs to `key`.
    pub fn is_of(&self, key: &ApiKey) -> bool {
        self.id == key.id && self.hash.is_same_as(&key.hash())
    }

    /// The caller that this key authenticates.
    pub fn principal(&self) -> Principal {
        Principal {
            name: self.id.to_string(),
            tenant: self.tenant.clone(),
            scopes: self.scopes.clone(),
            vehicles: self.vehicles.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_recognised_by_its_prefix_and_hides_its_secret() {
        let mut random = [0xAB; RANDOM_BYTES];
        random[..ID_BYTES].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let key = ApiKey::new(&random);
        assert_eq!(key.reveal(), format!("vxk_0102030405060708_{}", "ab".repeat(32)));
        assert_eq!(key.id().as_str(), "vxk_0102030405060708");
        assert!(ApiKey::has_prefix(&key.reveal()) && !ApiKey::has_prefix("eyJ0eXAi"));
        for shown in [format!("{key:?}"), format!("{:?}", key.hash()), format!("{:?}", key.id())] {
            assert!(!shown.contains("abab") && !shown.contains(&key.hash().to_hex()), "{shown}");
        }
    }

    #[test]
    fn the_hash_is_of_the_secret_as_text() {
        let key = ApiKey::new(&[0; RANDOM_BYTES]);
        // printf 0%.0s {1..64} | sha256sum
        assert_eq!(key.hash().to_hex(), "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55");
    }

    #[test]
    fn invalid_keys_are_rejected_and_not_repeated() {
        let good = ApiKey::new(&[7; RANDOM_BYTES]).reveal();
        let upper = good.to_uppercase();
        let cut = &good[..good.len() - 1];
        let longer = format!("{good}0");
        let other = good.replace("vxk_", "abc_");
        for text in
            ["", "vxk_", "vxk__", &upper, cut, &longer, &other, &good.replace("07_", "0x_"), "_", "ü_ü"]
        {
            let error = text.parse::<ApiKey>().expect_err(text);
            assert!(!error.to_string().contains("0707"), "{error}");
        }
        assert_eq!(good.parse::<KeyId>(), Err(KeyError::NotAnId), "a key is no id");
        for text in ["vxk_070707070707070", "vxk_07070707070707zz", "0707070707070707"] {
            assert_eq!(text.parse::<KeyId>(), Err(KeyError::NotAnId), "{text}");
        }
    }

    #[test]
    fn names_are_of_one_line() {
        assert!("Grafana, für die Flotte".parse::<KeyName>().is_ok() && "".parse::<KeyName>().is_ok());
        for text in ["a\nb", "\u{1b}[31m", &"n".repeat(101)] {
            assert_eq!(text.parse::<KeyName>(), Err(KeyError::NotAName));
        }
    }

    proptest! {
        #[test]
        fn keys_and_hashes_are_read_as_they_were_written(bytes in proptest::collection::vec(any::<u8>(), RANDOM_BYTES), other in any::<u8>()) {
            let random: [u8; RANDOM_BYTES] = bytes.try_into().expect("as many");
            let key = ApiKey::new(&random);
            let read: ApiKey = key.reveal().parse().expect("a key");
            prop_assert_eq!(read.reveal(), key.reveal());
            let hash = KeyHash::from_hex(&key.hash().to_hex()).expect("a hash");
            prop_assert!(hash.is_same_as(&read.hash()));
            let mut different = random;
            different[ID_BYTES] ^= other | 1;
            prop_assert!(!hash.is_same_as(&ApiKey::new(&different).hash()));
        }
    }
}
