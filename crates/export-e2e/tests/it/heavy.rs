//! An export that does not fit into a worker's memory fails at once, and leaves the worker's other
//! exports alone.

use bson::{Document, doc};
use export_e2e::Stack;
use serde_json::json;

/// 2018-11-30T00:00:00Z.
const START_MS: i64 = 1_543_536_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn c7_an_hour_that_is_too_large_fails_once_and_the_other_export_finishes() {
    let stack = Stack::start().await;
    let vehicle = |name: &str| format!("{}{name}", stack.space.vehicle_prefix);
    let (heavy, light) = (vehicle("heavy"), vehicle("light"));
    // Nearly the largest documents that a server stores.
    let filler = "x".repeat((16 << 20) - 1_000);
    for parameter in ["soc", "speed", "odo", "current"] {
        let hour = doc! { "_id": START_MS, "values": { "5": 1 }, "filler": &filler };
        let collection = stack.space.mongodb.database(&heavy).collection::<Document>(parameter);
        collection.insert_one(hour).await.expect("stored");
    }
    let hour = doc! { "_id": START_MS, "values": { "5": 1 } };
    let collection = stack.space.mongodb.database(&light).collection::<Document>("soc");
    collection.insert_one(hour).await.expect("stored");

    stack.until_listed(&[heavy.clone(), light.clone()]).await;
    let body =
        |vehicle: &str| json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": [vehicle] });
    let (heavy_id, light_id) = (stack.accepted(&body(&heavy)).await, stack.accepted(&body(&light)).await);
    let (failed, _) = stack.ended(&heavy_id).await;
    assert_eq!((&failed["state"], &failed["attempts"]), (&json!("FAILED"), &json!(1)), "{failed:#}");
    assert_eq!(failed["error"]["code"], "hour_too_large", "{failed:#}");
    let message = failed["error"]["message"].as_str().expect("a message");
    assert!(message.contains(&heavy) && message.contains("MEMORY_BUDGET_MB"), "{message}");
    let (finished, _) = stack.ended(&light_id).await;
    assert_eq!(finished["state"], "FINISHED", "{finished:#}");
    stack.stop().await;
}
