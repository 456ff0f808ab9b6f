//! Results on a real S3 server.

mod bucket;
mod links;
mod proxy;
mod results;
mod sinking;
mod uploads;
