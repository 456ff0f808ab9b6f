//! Everything of HTTP outside the handlers: the server, limits, request ids, problems, bodies and
//! queries.

pub mod client_address;
pub mod failures;
pub(crate) mod hosts;
pub mod json_body;
pub mod limits;
pub(crate) mod meters;
pub(crate) mod path;
pub mod problem;
pub(crate) mod query;
pub(crate) mod rate;
pub(crate) mod rate_limit;
pub(crate) mod refusals;
pub(crate) mod rejections;
pub mod request_id;
pub mod server;
