//! The reference's reading side: the ordinary driver, owned documents, one vehicle at a time.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::results::CollectionType;
use mongodb::{Client, Database};

use super::export::{REACH_MS, export_vehicle};
use super::{ReferenceExport, ReferenceRequest, SourceVehicle, default_columns};

/// Exports all vehicles (or those asked for) whose databases start with `prefix`. A whole vehicle is held in memory.
/// Fails when the database does.
pub async fn export_database(
    client: &Client,
    prefix: &str,
    request: &ReferenceRequest,
) -> mongodb::error::Result<ReferenceExport> {
    let mut databases = match &request.vehicles {
        Some(names) => names.clone(),
        None => client.list_database_names().await?,
    };
    databases.retain(|name| name.starts_with(prefix));
    databases.sort();

    let mut collections_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in &databases {
        collections_of.insert(name, collections(&client.database(name)).await?);
    }
    let parameters = request
        .parameters
        .clone()
        .unwrap_or_else(|| default_columns(collections_of.values().flatten().map(String::as_str)));

    let mut vehicles = Vec::new();
    for name in &databases {
        let database = client.database(name);
        let mut source = SourceVehicle { database: name.clone(), collections: BTreeMap::new() };
        for collection in collections_of[name.as_str()].iter().filter(|name| parameters.contains(name)) {
            let documents = database
                .collection::<Document>(collection)
                .find(
                    doc! { "_id": { "$gte": request.from_ms.saturating_sub(REACH_MS), "$lt": request.to_ms } },
                )
                .sort(doc! { "_id": 1 })
                .await?
                .try_collect()
                .await?;
            source.collections.insert(collection.clone(), documents);
        }
        vehicles.push(export_vehicle(request, &parameters, &source));
    }
    Ok(ReferenceExport { parameters, vehicles })
}

/// Real collections only: no views, nothing of the server's own.
async fn collections(database: &Database) -> mongodb::error::Result<Vec<String>> {
    let specifications: Vec<_> = database.list_collections().await?.try_collect().await?;
    Ok(specifications
        .into_iter()
        .filter(|collection| collection.collection_type == CollectionType::Collection)
        .map(|collection| collection.name)
        .filter(|name| !name.starts_with("system."))
        .collect())
}
