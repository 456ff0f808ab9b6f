//! The API's side of the catalog: pages of vehicles, known names, and the size of a request.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use export_core::access::AllowedVehicles;
use export_core::estimate::Coverage;
use export_core::range::HOUR_MS;
use export_core::{Parameter, TimeRange, VehicleId};
use export_mongo::StoreError;
use export_mongo::clock::millis;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::{AggregateOptions, FindOptions};

use super::{Catalog, CataloguedVehicle, MARKER, among, literal, read_vehicle};

/// Server-side time limit of one query. Most queries use an index; scans of all vehicles
/// take well under a second for tens of thousands of vehicles.
pub(super) const QUERY_TIME: Duration = Duration::from_secs(10);
/// Number of parameters after which a page ends early: about 600 KB, because a caller may leave as
/// many pages unread as it may have requests open.
const PAGE_PARAMETERS: usize = 5_000;
/// How long the parameters of a vehicle count as complete after it was examined.
const PARAMETERS_TRUSTED: Duration = Duration::from_mins(10);

/// How current the list of vehicles is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogStatus {
    /// When the list of vehicles was last complete, in unix milliseconds; `None` when it never was.
    pub listed_at_ms: Option<i64>,
    /// Age of the list in seconds, by the database's clock.
    pub age_seconds: Option<u64>,
    /// Whether the list is recent enough to conclude that an unlisted vehicle does not exist.
    pub is_trusted: bool,
}

/// A page of vehicles, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VehiclePage {
    /// The vehicles.
    pub vehicles: Vec<CataloguedVehicle>,
    /// Whether more vehicles follow.
    pub has_more: bool,
}

/// The known parameters of some vehicles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownParameters {
    /// The names.
    pub names: BTreeSet<Parameter>,
    /// Whether these are all of them.
    pub are_all: bool,
}

impl Catalog {
    /// How current the list of vehicles is.
    pub async fn status(&self) -> Result<CatalogStatus, StoreError> {
        let is_trusted = doc! { "$gt": ["$trustedUntil", "$$NOW"] };
        let stages = vec![
            doc! { "$match": { "_id": MARKER } },
            doc! { "$project": {
                "listedAt": 1,
                "isTrusted": is_trusted,
                "ageMs": { "$subtract": ["$$NOW", "$listedAt"] },
            } },
        ];
        let Some(marker) = self.first(stages).await? else { return Ok(CatalogStatus::default()) };
        Ok(CatalogStatus {
            listed_at_ms: marker.get_datetime("listedAt").ok().map(|time| time.timestamp_millis()),
            age_seconds: marker
                .get_i64("ageMs")
                .ok()
                .map(|age_ms| u64::try_from(age_ms / 1_000).unwrap_or(0)),
            is_trusted: marker.get_bool("isTrusted").unwrap_or(false),
        })
    }

    /// The allowed vehicles whose names contain `search` (ignoring case) and sort after `after`.
    pub async fn page(
        &self,
        allowed: &AllowedVehicles,
        search: Option<&str>,
        after: Option<&VehicleId>,
        limit: u16,
    ) -> Result<VehiclePage, StoreError> {
        let mut conditions = vec![among(allowed, None)];
        if let Some(after) = after {
            conditions.push(doc! { "_id": { "$gt": after.as_str() } });
        }
        if let Some(search) = search.filter(|search| !search.is_empty()) {
            conditions.push(doc! { "_id": { "$regex": literal(search), "$options": "i" } });
        }
        let read = |catalog: Collection<Document>| async move {
            let found = catalog.find(doc! { "$and": conditions }).sort(doc! { "_id": 1 });
            let mut found = found.limit(i64::from(limit) + 1).max_time(QUERY_TIME).await?;
            let (mut documents, mut parameters) = (Vec::new(), 0);
            while let Some(document) = found.try_next().await? {
                let is_full = documents.len() == usize::from(limit) || parameters >= PAGE_PARAMETERS;
                if is_full {
                    return Ok((documents, true));
                }
                parameters += document.get_array("parameters").map_or(0, Vec::len);
                documents.push(document);
            }
            Ok((documents, false))
        };
        let (documents, has_more) = self.vehicles.read("read a page of the catalog", read).await?;
        let vehicles = documents.into_iter().map(read_vehicle).collect::<Result<_, _>>()?;
        Ok(VehiclePage { vehicles, has_more })
    }

    /// The chosen vehicles that exist and are allowed.
    pub async fn known(
        &self,
        allowed: &AllowedVehicles,
        chosen: &[VehicleId],
    ) -> Result<BTreeSet<VehicleId>, StoreError> {
        let filter = among(allowed, Some(chosen));
        self.names_where(filter, doc! { "_id": 1 }, i64::try_from(chosen.len()).unwrap_or(i64::MAX)).await
    }

    /// Allowed vehicles with the names next to an unknown name, as suggestions.
    pub async fn neighbours(
        &self,
        allowed: &AllowedVehicles,
        name: &VehicleId,
        each_side: u16,
    ) -> Result<BTreeSet<VehicleId>, StoreError> {
        let side = |comparison: &str| doc! { "$and": [among(allowed, None), { "_id": { comparison: name.as_str() } }] };
        let limit = i64::from(each_side);
        let mut names = self.names_where(side("$lt"), doc! { "_id": -1 }, limit).await?;
        names.extend(self.names_where(side("$gt"), doc! { "_id": 1 }, limit).await?);
        Ok(names)
    }

    async fn names_where(
        &self,
        filter: Document,
        order: Document,
        limit: i64,
    ) -> Result<BTreeSet<VehicleId>, StoreError> {
        let options = FindOptions::builder().sort(order).limit(limit).projection(doc! { "_id": 1 });
        let options = options.max_time(QUERY_TIME).build();
        let found = self.vehicles.find("look vehicles up in the catalog", filter, options).await?;
        Ok(found.iter().filter_map(|vehicle| vehicle.get_str("_id").ok()?.parse().ok()).collect())
    }

    /// The number of allowed vehicles.
    pub async fn count(&self, allowed: &AllowedVehicles) -> Result<u64, StoreError> {
        let filter = among(allowed, None);
        let count = |catalog: Collection<Document>| async move {
            catalog.count_documents(filter).max_time(QUERY_TIME).await
        };
        self.vehicles.read("count the catalog's vehicles", count).await
    }

    /// The parameters of the allowed vehicles, or of the chosen ones of them.
    pub async fn known_parameters(
        &self,
        allowed: &AllowedVehicles,
        chosen: Option<&[VehicleId]>,
    ) -> Result<KnownParameters, StoreError> {
        // Without a condition, the index alone answers the query.
        let filter = match (allowed, chosen) {
            (AllowedVehicles::All, None) => doc! {},
            _ => among(allowed, chosen),
        };
        let list = |catalog: Collection<Document>| async move {
            catalog.distinct("parameters.name", filter).max_time(QUERY_TIME).await
        };
        let names = self.vehicles.read("list the catalog's parameters", list).await?;
        let long_ago = doc! { "$subtract": ["$$NOW", millis(PARAMETERS_TRUSTED)] };
        let is_unsure = doc! { "$or": [
            { "isWhole": { "$ne": true } },
            // BSON orders a missing time before every other.
            { "$expr": { "$lt": ["$refreshedAt", long_ago] } },
        ] };
        let unsure = vec![
            doc! { "$match": { "$and": [among(allowed, chosen), is_unsure] } },
            doc! { "$limit": 1 },
            doc! { "$project": { "_id": 1 } },
        ];
        let are_all = self.first(unsure).await?.is_none();
        let names = names.iter().filter_map(|name| name.as_str()?.parse().ok()).collect();
        Ok(KnownParameters { names, are_all })
    }

    /// The amount of data in a range, assuming that a parameter has data in every hour from its
    /// first to its last.
    pub async fn coverage(
        &self,
        allowed: &AllowedVehicles,
        chosen: Option<&[VehicleId]>,
        parameters: Option<&[Parameter]>,
        range: TimeRange,
    ) -> Result<Coverage, StoreError> {
        let (from, to) = (DateTime::from_millis(range.from_ms()), DateTime::from_millis(range.to_ms()));
        let mut is_meant = vec![doc! { "$gt": ["$$parameter.firstHour", null] }];
        if let Some(parameters) = parameters {
            let names: Vec<Bson> = parameters.iter().map(|parameter| parameter.as_str().into()).collect();
            is_meant.push(doc! { "$in": ["$$parameter.name", { "$literal": names }] });
        }
        let meant =
            doc! { "$filter": { "input": "$parameters", "as": "parameter", "cond": { "$and": is_meant } } };
        let end = doc! { "$add": ["$$parameter.lastHour", HOUR_MS] };
        let span = doc! { "from": { "$max": ["$$parameter.firstHour", from] }, "to": { "$min": [end, to] } };
        let spans = doc! { "$map": { "input": meant, "as": "parameter", "in": span } };
        let is_some = doc! { "$lt": ["$$span.from", "$$span.to"] };
        let hours = |from: &str, to: &str| {
            doc! { "$ceil": { "$divide": [{ "$subtract": [to, from] }, HOUR_MS] } }
        };
        let each =
            doc! { "$map": { "input": "$spans", "as": "span", "in": hours("$$span.from", "$$span.to") } };
        let whole = doc! { "$let": {
            "vars": { "from": { "$min": "$spans.from" }, "to": { "$max": "$spans.to" } },
            "in": { "$cond": [{ "$gt": ["$$from", null] }, hours("$$from", "$$to"), 0] },
        } };
        let stages = vec![
            doc! { "$match": among(allowed, chosen) },
            doc! { "$project": { "spans": spans } },
            doc! { "$project": { "spans": { "$filter": { "input": "$spans", "as": "span", "cond": is_some } } } },
            doc! { "$project": { "parameterHours": { "$sum": each }, "vehicleHours": whole } },
            doc! { "$group": {
                "_id": null,
                "vehicles": { "$sum": 1 },
                "parameterHours": { "$sum": "$parameterHours" },
                "vehicleHours": { "$sum": "$vehicleHours" },
            } },
        ];
        let Some(sums) = self.first(stages).await? else { return Ok(Coverage::default()) };
        Ok(Coverage {
            vehicles: count(sums.get("vehicles")),
            parameter_hours: count(sums.get("parameterHours")),
            vehicle_hours: count(sums.get("vehicleHours")),
        })
    }

    pub(super) async fn first(&self, stages: Vec<Document>) -> Result<Option<Document>, StoreError> {
        let options = AggregateOptions::builder().max_time(QUERY_TIME).build();
        let found = self.vehicles.aggregate("query the catalog", stages, options).await?;
        Ok(found.into_iter().next())
    }
}

/// A sum of whole numbers, in any numeric type of the server.
pub(super) fn count(sum: Option<&Bson>) -> u64 {
    match sum {
        Some(Bson::Int32(sum)) => u64::try_from(*sum).unwrap_or_default(),
        Some(Bson::Int64(sum)) => u64::try_from(*sum).unwrap_or_default(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and not negative; the cast saturates"
        )]
        Some(Bson::Double(sum)) => *sum as u64,
        _ => 0,
    }
}
