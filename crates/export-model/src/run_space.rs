//! All runs of a protocol, as the search and the properties see them.

use crate::protocol::Protocol;
use crate::rest::WaysToRest;

/// All runs of a protocol.
pub(crate) struct RunSpace {
    pub(crate) protocol: Protocol,
    pub(crate) ways_to_rest: WaysToRest,
}
