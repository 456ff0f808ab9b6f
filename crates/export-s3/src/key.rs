//! Object keys.

use export_core::output::Archive;
use export_core::{JobId, Tenant};
use uuid::Uuid;

/// Where one pass of the engine stores its result: one object, or many under a prefix.
///
/// Every pass of every attempt at a job has its own nonce, hence its own keys. So a worker that
/// lost its job without noticing cannot overwrite the result of another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultLocation {
    /// The key of the only object.
    Object(String),
    /// The prefix of the keys of all objects; ends with `/`.
    Prefix(String),
}

impl ResultLocation {
    /// `<prefix><tenant>/<jobId>/<attempt>-<nonce>.zip` for a zip,
    /// `<prefix><tenant>/<jobId>/<attempt>-<nonce>/` otherwise. `attempt` is the job's.
    pub fn new(
        archive: Archive,
        prefix: &str,
        tenant: &Tenant,
        job_id: JobId,
        attempt: u32,
        nonce: Uuid,
    ) -> Self {
        let stem = format!("{prefix}{}{attempt}-{}", own_prefix(tenant, job_id), nonce.simple());
        match archive {
            Archive::Zip => Self::Object(format!("{stem}.zip")),
            Archive::None => Self::Prefix(format!("{stem}/")),
        }
    }

    /// The key or the prefix.
    pub fn as_str(&self) -> &str {
        let (Self::Object(text) | Self::Prefix(text)) = self;
        text
    }

    /// The key of the object with this name.
    pub(crate) fn key_of(&self, name: &str) -> String {
        match self {
            Self::Object(key) => key.clone(),
            Self::Prefix(prefix) => format!("{prefix}{name}"),
        }
    }
}

/// What the keys of all attempts at a job begin with, below the service's prefix.
pub(crate) fn own_prefix(tenant: &Tenant, job_id: JobId) -> String {
    format!("{tenant}/{job_id}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_has_its_own_keys() {
        let job_id = "01983c5e-7a01-7c3a-9d5e-0123456789ab".parse().expect("an id");
        let place = |archive, attempt, nonce| {
            let nonce = Uuid::from_u128(nonce);
            ResultLocation::new(archive, "exports/", &Tenant::default_tenant(), job_id, attempt, nonce)
        };
        let stem = "exports/default/01983c5e-7a01-7c3a-9d5e-0123456789ab/2-00000000000000000000000000000007";
        let zip = place(Archive::Zip, 2, 7);
        assert_eq!(zip.as_str(), format!("{stem}.zip"));
        assert_eq!(zip.key_of("export.zip"), format!("{stem}.zip"));
        let folder = place(Archive::None, 2, 7);
        assert_eq!(folder.as_str(), format!("{stem}/"));
        assert_eq!(folder.key_of("manifest.json"), format!("{stem}/manifest.json"));
        assert_ne!(zip, place(Archive::Zip, 2, 8));
        assert_ne!(zip, place(Archive::Zip, 3, 7));
    }
}
