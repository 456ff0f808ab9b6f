//! Which vehicles and parameters there are: one database per vehicle, one collection per parameter.

use std::str::FromStr;

use bson::{RawDocumentBuf, doc};
use export_core::{Parameter, VehicleId};
use mongodb::{Client, Collection};
use tracing::warn;

use crate::client::{MongoClient, bounded};
use crate::error::StoreError;

/// Where vehicles are found. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VehicleDatabases {
    client: Client,
    prefix: String,
}

impl VehicleDatabases {
    /// The databases whose names begin with `prefix`.
    pub fn new(mongo: &MongoClient, prefix: &str) -> Self {
        Self { client: mongo.client.clone(), prefix: prefix.to_owned() }
    }

    /// All vehicles there are now, by name. Asked anew for each export, so that new vehicles are seen.
    pub async fn vehicles(&self) -> Result<Vec<VehicleId>, StoreError> {
        let names = self.names().await?;
        let mut vehicles: Vec<VehicleId> =
            names.into_iter().filter_map(|name| usable(&name, "vehicle")).collect();
        vehicles.sort();
        Ok(vehicles)
    }

    /// The names of the databases with the prefix, whatever they are.
    pub(crate) async fn names(&self) -> Result<Vec<String>, StoreError> {
        let client = self.client.clone();
        let names = bounded("list the vehicles", async move { client.list_database_names().await }).await?;
        Ok(names.into_iter().filter(|name| name.starts_with(&self.prefix)).collect())
    }

    /// The parameters for which a vehicle has a collection, by name. Views and MongoDB's own collections are none.
    pub async fn parameters(&self, vehicle: &VehicleId) -> Result<Vec<Parameter>, StoreError> {
        let names = self.collection_names(vehicle).await?;
        let mut parameters: Vec<Parameter> =
            names.into_iter().filter_map(|name| usable(&name, "parameter")).collect();
        parameters.sort();
        Ok(parameters)
    }

    /// The names of a vehicle's collections, whatever they are, without views and MongoDB's own.
    pub(crate) async fn collection_names(&self, vehicle: &VehicleId) -> Result<Vec<String>, StoreError> {
        let database = self.client.database(vehicle.as_str());
        let names = bounded("list a vehicle's parameters", async move {
            database.list_collection_names().filter(doc! { "type": "collection" }).await
        })
        .await?;
        Ok(names.into_iter().filter(|name| !name.starts_with("system.")).collect())
    }

    /// The collection with a parameter's hour documents.
    pub(crate) fn hours(&self, vehicle: &VehicleId, parameter: &Parameter) -> Collection<RawDocumentBuf> {
        self.client.database(vehicle.as_str()).collection(parameter.as_str())
    }
}

/// The name as one of ours. One that cannot be is left out with a line in the log.
fn usable<T: FromStr>(name: &str, what: &'static str) -> Option<T> {
    let usable = name.parse().ok();
    if usable.is_none() {
        warn!(name, what, "left out: no file or column can have this name");
    }
    usable
}
