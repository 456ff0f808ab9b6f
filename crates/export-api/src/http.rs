//! Everything of HTTP outside the handlers: the server, limits, request ids, problems, bodies and
//! queries.

pub mod json_body;
pub mod limits;
pub mod problem;
pub(crate) mod query;
pub(crate) mod rejections;
pub(crate) mod request_id;
pub mod server;
