//! The indexes of the results, and the validator with which the database rejects invalid ones.

use bson::{Document, doc};
use export_core::result::ResultState;
use export_mongo::provision::index;
use mongodb::IndexModel;
use mongodb::options::IndexOptions;

/// The unique indexes, which allow at most one WRITING and one current result per key, and the
/// sweeper's indexes.
pub(crate) fn indexes() -> [IndexModel; 3] {
    let one_of_a_key = |name: &str, condition: Document| {
        let options = IndexOptions::builder()
            .name(name.to_owned())
            .unique(true)
            .partial_filter_expression(condition)
            .build();
        IndexModel::builder().keys(doc! { "tenant": 1, "shareKey": 1 }).options(options).build()
    };
    let is_written = doc! { "state": ResultState::Writing.as_str(), "shareKey": { "$type": "string" } };
    [
        one_of_a_key("writing", is_written),
        one_of_a_key("current", doc! { "current": true }),
        index("expiry", doc! { "state": 1, "expiresAt": 1 }),
    ]
}

/// The validator. Whatever writes to `results`: a finished result has exactly one address, only a
/// result that is being written has an owner, and only a finished result that may be shared is
/// current.
pub(crate) fn validator() -> Document {
    let schema = doc! {
        "bsonType": "object",
        "required": ["tenant", "shareKey", "state", "epoch", "begunAt", "current"],
        "properties": {
            "_id": { "bsonType": "string" },
            "tenant": { "bsonType": "string" },
            "shareKey": { "bsonType": ["string", "null"] },
            "state": { "enum": ResultState::ALL.map(ResultState::as_str).to_vec() },
            "epoch": { "bsonType": "long", "minimum": 0 },
            "owner": { "bsonType": ["string", "null"] },
            "begunAt": { "bsonType": "date" },
            "uri": { "bsonType": ["string", "null"] },
            "objects": { "bsonType": ["array", "null"] },
            "madeAt": { "bsonType": ["date", "null"] },
            "expiresAt": { "bsonType": ["date", "null"] },
            "current": { "bsonType": "bool" },
        },
    };
    let is_set = |field: &str| doc! { "$gt": [field, null] };
    let is_in = |state: ResultState| doc! { "$eq": ["$state", state.as_str()] };
    doc! {
        "$jsonSchema": schema,
        "$expr": { "$and": [
            { "$eq": [is_in(ResultState::Finished), is_set("$uri")] },
            { "$eq": [is_in(ResultState::Writing), is_set("$owner")] },
            { "$or": [{ "$ne": ["$current", true] },
                      { "$and": [is_in(ResultState::Finished), is_set("$shareKey")] }] },
        ] },
    }
}
