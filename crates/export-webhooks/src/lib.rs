//! Signed webhooks: what is sent, where it may be sent, and how.
//!
//! [`Webhooks::send`] makes one try; who calls it decides when, and how often. What is sent is signed as Standard Webhooks has it,
//! with a secret of the tenant's that is derived from the operator's key ([`SigningKey`]), so that no secret has to be kept anywhere.
//!
//! Addresses come from strangers. So nothing is sent to an address that is not public ([`AllowedNetworks`]), not by a name that leads
//! there and not by a redirect; and nothing of an answer but its status is looked at. Path and query of an address may hold the
//! receiver's secrets: they are in no log and in no error.

mod answer;
mod networks;
mod resolver;
mod sender;
mod signing;

pub use answer::{Answer, MAX_RETRY_AFTER};
pub use networks::{AllowedNetworks, NotANetwork};
pub use sender::{Refusal, WebhookSettings, Webhooks, WebhooksError};
pub use signing::{KeyError, SigningKey, SigningKeys, TenantSecret};
