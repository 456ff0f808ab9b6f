//! Tests of the test kit: the oracle against texts written by hand, the check of results, and the
//! real services.

mod archive;
mod coverage;
mod dump;
mod fleet;
mod generated;
mod objects;
mod oracle;
mod own;
mod parquet;
mod proxy;
mod resampling;
mod samples;
mod services;
mod spreadsheet;
mod times;
