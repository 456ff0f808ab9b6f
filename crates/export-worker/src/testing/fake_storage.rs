//! An object store that refuses test objects as long as a test says so.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use export_s3::S3Error;

use crate::storage_gate::WriteCheck;

/// Counts the checks, and refuses them while [`FakeStorage::refuse`] says so.
#[derive(Debug, Default)]
pub(crate) struct FakeStorage {
    is_refusing: AtomicBool,
    checks: AtomicUsize,
}

impl FakeStorage {
    pub(crate) fn refuse(&self, is_refusing: bool) {
        self.is_refusing.store(is_refusing, Relaxed);
    }

    /// Checks so far.
    pub(crate) fn check_count(&self) -> usize {
        self.checks.load(Relaxed)
    }
}

#[async_trait]
impl WriteCheck for FakeStorage {
    async fn check_write(&self) -> Result<(), S3Error> {
        self.checks.fetch_add(1, Relaxed);
        if self.is_refusing.load(Relaxed) { Err(S3Error::NoBucket("results".to_owned())) } else { Ok(()) }
    }
}
