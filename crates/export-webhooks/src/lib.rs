//! Signed webhooks: content, allowed addresses, sending.
//!
//! [`Webhooks::send`] makes one attempt; the caller decides when and how often. Webhooks are signed
//! as Standard Webhooks specifies, with a secret of the tenant that is derived from the operator's
//! key ([`SigningKey`]), so no secret has to be stored.
//!
//! **Untrusted URLs.** Clients choose the URLs. So nothing is sent to an address that is not public
//! ([`AllowedNetworks`]), whether the URL has the address, a name that resolves to it, or redirects
//! to it. Of an answer only the status and `Retry-After` are read. Path and query of a URL may
//! contain the receiver's secrets, so they are never in a log or an error.

mod answer;
mod networks;
mod resolver;
mod sender;
mod signing;

pub use answer::{Answer, MAX_RETRY_AFTER};
pub use networks::{AllowedNetworks, NotANetwork};
pub use sender::{Refusal, WebhookSettings, Webhooks, WebhooksError};
pub use signing::{KeyError, SigningKey, SigningKeys, TenantSecret};
