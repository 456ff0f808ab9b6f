//! Whether new jobs share results: the same request for hours that are over then reads the source once.

use export_core::access::AllowedVehicles;
use export_core::request::ExportRequest;
use export_core::sharing::ShareKey;

/// Whether new jobs share results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They do, where the range has ended.
    On,
    /// They do not, because hours that are over still change.
    Off,
}

impl Sharing {
    /// The share key of a new job.
    pub fn key_of(self, request: &ExportRequest, allowed: &AllowedVehicles) -> Option<ShareKey> {
        match self {
            Self::On => Some(ShareKey::of(request, allowed)),
            Self::Off => None,
        }
    }
}
