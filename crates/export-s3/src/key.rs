//! Object keys.

use export_core::{JobId, Tenant};
use uuid::Uuid;

/// The key of one attempt's result: `<prefix><tenant>/<jobId>/<attempt>-<nonce>.zip`.
///
/// Every attempt writes to a key of its own, so that a worker which was thought dead can overwrite nothing.
pub fn result_key(prefix: &str, tenant: &Tenant, job_id: JobId, attempt: u32, nonce: Uuid) -> String {
    format!("{prefix}{tenant}/{job_id}/{attempt}-{}.zip", nonce.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_has_its_own_key() {
        let job_id = "01983c5e-7a01-7c3a-9d5e-0123456789ab".parse().expect("an id");
        let key = |attempt, nonce| {
            result_key("exports/", &Tenant::default_tenant(), job_id, attempt, Uuid::from_u128(nonce))
        };
        assert_eq!(
            key(2, 7),
            "exports/default/01983c5e-7a01-7c3a-9d5e-0123456789ab/2-00000000000000000000000000000007.zip"
        );
        assert_ne!(key(2, 7), key(2, 8));
        assert_ne!(key(2, 7), key(3, 7));
    }
}
