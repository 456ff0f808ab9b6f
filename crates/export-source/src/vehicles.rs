//! Lists vehicles and parameters: a vehicle is a database, a parameter is a collection.

mod other_ids;

use std::collections::BTreeSet;
use std::str::FromStr;

use bson::{Document, RawDocumentBuf, doc};
use export_core::source::{UnreadCollection, UnreadReason, VehicleCollections};
use export_core::{Parameter, VehicleId};
use export_mongo::StoreError;
use export_mongo::client::MongoClient;
use futures_util::TryStreamExt;
use mongodb::error::Error;
use mongodb::options::CollectionOptions;
use mongodb::{Client, Collection, Database};
use tracing::warn;

use crate::preference::ReadFrom;
use crate::throttle::{Read, ReadLimits, SourceThrottle};

/// The vehicles' databases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VehicleDatabases {
    client: Client,
    throttle: SourceThrottle,
    prefix: String,
}

impl VehicleDatabases {
    /// The databases whose names start with `prefix`, with the default limits.
    pub fn new(mongo: &MongoClient, prefix: &str) -> Self {
        Self::with_throttle(&SourceThrottle::new(mongo, ReadLimits::default()), prefix)
    }

    /// The databases whose names start with `prefix`, read through this throttle.
    pub fn with_throttle(throttle: &SourceThrottle, prefix: &str) -> Self {
        Self { client: throttle.client().clone(), throttle: throttle.clone(), prefix: prefix.to_owned() }
    }

    pub(crate) fn throttle(&self) -> &SourceThrottle {
        &self.throttle
    }

    /// All existing vehicles, sorted by name. Not cached: each export sees new vehicles.
    pub async fn vehicles(&self) -> Result<Vec<VehicleId>, StoreError> {
        let read = self.throttle.begin(0).await;
        let names = self.names(&read).await?;
        drop(read);
        Ok(usable(&names, "vehicle"))
    }

    /// The names of all databases with the prefix, valid or not. The caller holds the read permit.
    pub(crate) async fn names(&self, read: &Read) -> Result<Vec<String>, StoreError> {
        let (client, read_from) = (self.client.clone(), self.throttle.read_from());
        let listed = read.run("list the vehicles", async move { list_databases(&client, read_from).await });
        let names = listed.await?;
        Ok(names.into_iter().filter(|name| name.starts_with(&self.prefix)).collect())
    }

    /// The collections of a vehicle, sorted by name. Views, time series and MongoDB's own
    /// collections are no parameters. Parameters with documents that no export can read are unread,
    /// too.
    pub async fn collections(&self, vehicle: &VehicleId) -> Result<VehicleCollections, StoreError> {
        let read = self.throttle.begin(0).await;
        let mut listed = self.listed_collections(&read, vehicle).await?;
        drop(read);
        listed.unread.extend(self.with_other_ids(vehicle, &listed.parameters).await?);
        listed.unread.sort();
        for unread in listed.unread.iter().filter(|unread| unread.reason == UnreadReason::UnusableName) {
            warn!(name = unread.name, "skipped: not usable as the name of a column");
        }
        Ok(listed)
    }

    /// Like [`collections`](Self::collections), logging nothing. The caller holds the read permit.
    pub(crate) async fn listed_collections(
        &self,
        read: &Read,
        vehicle: &VehicleId,
    ) -> Result<VehicleCollections, StoreError> {
        let (database, read_from) = (self.client.database(vehicle.as_str()), self.throttle.read_from());
        let listed = read
            .run("list a vehicle's parameters", async move { list_collections(&database, read_from).await });
        Ok(classified(&listed.await?))
    }

    /// The collection of a parameter's hour documents.
    pub(crate) fn hours(&self, vehicle: &VehicleId, parameter: &Parameter) -> Collection<RawDocumentBuf> {
        let criteria = self.throttle.read_from().criteria();
        let options = CollectionOptions::builder().selection_criteria(criteria).build();
        self.client.database(vehicle.as_str()).collection_with_options(parameter.as_str(), options)
    }
}

// The driver's own listings always read from the primary; the commands below follow the read
// preference.

async fn list_databases(client: &Client, read_from: ReadFrom) -> Result<Vec<String>, Error> {
    if read_from.is_primary() {
        return client.list_database_names().await;
    }
    let command = doc! { "listDatabases": 1, "nameOnly": true };
    let admin = client.database("admin");
    let listed = admin.run_command(command).selection_criteria(read_from.criteria()).await?;
    let databases = listed.get_array("databases").map_err(Error::custom)?;
    Ok(databases.iter().filter_map(|database| name_of(database.as_document()?)).collect())
}

/// Name and type of each collection.
async fn list_collections(database: &Database, read_from: ReadFrom) -> Result<Vec<Document>, Error> {
    let command = doc! { "listCollections": 1, "nameOnly": true, "cursor": {} };
    let listed = database.run_cursor_command(command).selection_criteria(read_from.criteria()).await?;
    listed.try_collect().await
}

fn name_of(listed: &Document) -> Option<String> {
    listed.get_str("name").ok().map(str::to_owned)
}

/// Sorts listed collections by what they are. A time series is listed under its own name, and
/// before MongoDB 8.3 also as its buckets.
fn classified(listed: &[Document]) -> VehicleCollections {
    let mut parameters = Vec::new();
    let mut unread = BTreeSet::new();
    for (name, kind) in listed.iter().filter_map(|one| Some((name_of(one)?, one.get_str("type").ok()))) {
        let series = name.strip_prefix("system.buckets.").map(str::to_owned);
        let reason = match (kind, name.parse()) {
            _ if series.is_some() => UnreadReason::TimeSeries,
            (Some("timeseries"), _) => UnreadReason::TimeSeries,
            (Some("view"), _) => UnreadReason::View,
            // It only lists the views and time series, which are listed here anyway.
            _ if name == "system.views" => continue,
            _ if name.starts_with("system.") => UnreadReason::System,
            (_, Ok(parameter)) => {
                parameters.push(parameter);
                continue;
            }
            (_, Err(_)) => UnreadReason::UnusableName,
        };
        unread.insert(UnreadCollection { name: series.unwrap_or(name), reason });
    }
    parameters.sort();
    VehicleCollections { parameters, unread: unread.into_iter().collect() }
}

/// Parses names and sorts them. Invalid ones are skipped and logged.
fn usable<T: FromStr + Ord>(names: &[String], what: &'static str) -> Vec<T> {
    let parse = |name: &String| {
        let usable = name.parse().ok();
        if usable.is_none() {
            warn!(name, what, "skipped: not usable as the name of a file or column");
        }
        usable
    };
    let mut usable: Vec<T> = names.iter().filter_map(parse).collect();
    usable.sort();
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_every_listed_collection_is_a_parameter_or_unread() {
        let listed = [
            ("soc", "collection"),
            ("system.views", "collection"),
            ("system.profile", "collection"),
            ("series", "timeseries"),
            ("system.buckets.series", "collection"),
            ("system.buckets.orphan", "collection"),
            ("view", "view"),
            ("a$b", "collection"),
            ("odo", "collection"),
        ];
        let listed = listed.map(|(name, kind)| doc! { "name": name, "type": kind });
        let found = classified(&listed);
        let names: Vec<&str> = found.parameters.iter().map(Parameter::as_str).collect();
        assert_eq!(names, ["odo", "soc"]);
        let unread: Vec<(&str, UnreadReason)> =
            found.unread.iter().map(|unread| (unread.name.as_str(), unread.reason)).collect();
        assert_eq!(
            unread,
            [
                ("a$b", UnreadReason::UnusableName),
                ("orphan", UnreadReason::TimeSeries),
                ("series", UnreadReason::TimeSeries),
                ("system.profile", UnreadReason::System),
                ("view", UnreadReason::View),
            ]
        );
    }
}
