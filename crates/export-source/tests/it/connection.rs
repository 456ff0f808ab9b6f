//! The client of one test.

use export_source::{MongoClient, connect};
use export_testkit::isolation::TestSpace;

pub(crate) async fn client(space: &TestSpace) -> MongoClient {
    connect(&space.services.mongodb_uri.clone().into(), "source tests").await.expect("a client")
}
