//! The reference's reader: the ordinary driver, owned documents, one vehicle at a time.

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::results::CollectionType;
use mongodb::{Client, Database};

use super::export::{files, without_vehicles, write_vehicle};
use super::read::{REACH_MS, read_vehicle};
use super::table::{ColumnType, widen};
use super::{
    ReferenceExport, ReferenceFormat, ReferenceRequest, SourceVehicle, StoredDocument, default_columns,
};

/// Exports all vehicles (or the requested ones) whose databases start with `prefix`. A whole
/// vehicle is held in memory. For parquet everything is read twice, because types depend on all
/// vehicles. Fails when the database does.
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

    let mut types = vec![ColumnType::Double; parameters.len()];
    if request.options.format == ReferenceFormat::Parquet {
        for (name, collections) in &collections_of {
            let source = load(&client.database(name), request, collections, &parameters).await?;
            widen(&mut types, &read_vehicle(request, &parameters, &source).columns);
        }
    }
    let databases: Vec<&str> = collections_of.keys().copied().collect();
    let vehicle_count = databases.len();
    let mut export = without_vehicles(request, parameters, types);
    for (file, (name, collections)) in files(&databases).into_iter().zip(&collections_of) {
        let source = load(&client.database(name), request, collections, &export.parameters).await?;
        let reading = read_vehicle(request, &export.parameters, &source);
        let vehicle = write_vehicle(request, &export, file, vehicle_count, reading);
        export.vehicles.push(vehicle);
    }
    Ok(export)
}

/// The documents of one vehicle that a service would read.
async fn load(
    database: &Database,
    request: &ReferenceRequest,
    collections: &[String],
    parameters: &[String],
) -> mongodb::error::Result<SourceVehicle> {
    let mut source = SourceVehicle { database: database.name().to_owned(), collections: BTreeMap::new() };
    for collection in collections.iter().filter(|name| parameters.contains(name)) {
        // Raw, since a `Document` has no two fields of one name.
        let documents: Vec<RawDocumentBuf> = database
            .collection::<RawDocumentBuf>(collection)
            .find(doc! { "_id": { "$gte": request.from_ms.saturating_sub(REACH_MS), "$lt": request.to_ms } })
            .sort(doc! { "_id": 1 })
            .await?
            .try_collect()
            .await?;
        let documents = documents.into_iter().map(|document| StoredDocument::Raw(document.into_bytes()));
        source.collections.insert(collection.clone(), documents.collect());
    }
    Ok(source)
}

/// Only real collections: no views, and none of the server's own.
async fn collections(database: &Database) -> mongodb::error::Result<Vec<String>> {
    let specifications: Vec<_> = database.list_collections().await?.try_collect().await?;
    Ok(specifications
        .into_iter()
        .filter(|collection| collection.collection_type == CollectionType::Collection)
        .map(|collection| collection.name)
        .filter(|name| !name.starts_with("system."))
        .collect())
}
