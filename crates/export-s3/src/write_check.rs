//! A check whether the object store accepts results now.

use bytes::Bytes;
use uuid::Uuid;

use crate::bucket::ResultBucket;
use crate::error::S3Error;
use crate::object;

impl ResultBucket {
    /// Writes a small object with a key of its own, create-only as results are. The bucket's
    /// lifecycle removes it.
    pub async fn check_write(&self) -> Result<(), S3Error> {
        // No tenant's name begins with a dot, so no result has this prefix.
        let key = format!("{}.write-check/{}", self.settings.key_prefix, Uuid::new_v4().simple());
        object::put(self, &key, "write-check", Bytes::from_static(b"ok\n")).await
    }
}
