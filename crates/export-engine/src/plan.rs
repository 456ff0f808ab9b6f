//! The plan of an export: a request whose open choices are resolved against the source.

use std::collections::{BTreeMap, BTreeSet};

use export_core::admission::{is_filled, most_rows};
use export_core::id::sort_parameters;
use export_core::manifest::{RangeText, ResolvedRequest};
use export_core::request::ExportRequest;
use export_core::source::{Source, SourceError, UnreadCollection};
use export_core::{Parameter, VehicleId};

use crate::names::file_names;

/// The vehicles and columns of an export, and the options of its result.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The request.
    pub request: ExportRequest,
    /// The vehicles, in the order of the archive.
    pub vehicles: Vec<VehiclePlan>,
    /// The columns after `time`, in order, of every vehicle's file.
    pub parameters: Vec<Parameter>,
}

/// One vehicle of a plan.
#[derive(Clone, Debug)]
pub struct VehiclePlan {
    /// The vehicle's name.
    pub vehicle: VehicleId,
    /// By position of the plan's parameters: whether the vehicle has a collection for it.
    pub has_collection: Vec<bool>,
    /// Collections that are not read: all of the vehicle, or those with the name of a requested
    /// parameter.
    pub unread: Vec<UnreadCollection>,
}

/// Why a request cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The request names vehicles that the source does not have.
    #[error("there is no vehicle {}", list(.0))]
    UnknownVehicles(Vec<VehicleId>),
    /// The export would have more columns than [`Plan::check_columns`] allows.
    #[error(
        "the export would have {columns} parameters, and at most {most} are allowed; name the ones to export"
    )]
    TooManyColumns {
        /// Parameters of the plan.
        columns: usize,
        /// The limit.
        most: usize,
    },
    /// The export would have more rows than [`Plan::check_rows`] allows.
    #[error(
        "with fill previous the export would have up to {rows} rows, and at most {most} are allowed; ask for a longer step, a \
         shorter range, fewer vehicles, or no fill"
    )]
    TooManyRows {
        /// The most rows of the plan.
        rows: u64,
        /// The limit.
        most: u64,
    },
    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The first few vehicles, for an error message.
fn list(vehicles: &[VehicleId]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<&str> = vehicles.iter().take(SHOWN).map(VehicleId::as_str).collect();
    let more = format!("{} more", vehicles.len().saturating_sub(SHOWN));
    if vehicles.len() > SHOWN {
        names.push(&more);
    }
    names.join(", ")
}

/// Resolves what the request leaves open: which vehicles exist, and which parameters they have.
/// Blocks while the source does.
pub fn plan(request: &ExportRequest, source: &dyn Source) -> Result<Plan, PlanError> {
    let vehicles = choose_vehicles(request.vehicles.as_deref(), source)?;
    let collections = source.collections(&vehicles)?;
    let parameters = request.parameters.clone().unwrap_or_else(|| {
        let found: BTreeSet<Parameter> =
            collections.iter().flat_map(|listed| listed.parameters.iter().cloned()).collect();
        let mut parameters: Vec<Parameter> = found.into_iter().collect();
        sort_parameters(&mut parameters);
        parameters
    });
    let vehicles = vehicles
        .into_iter()
        .zip(collections)
        .map(|(vehicle, listed)| VehiclePlan {
            vehicle,
            has_collection: parameters.iter().map(|name| listed.parameters.contains(name)).collect(),
            unread: requested(listed.unread, request.parameters.as_deref()),
        })
        .collect();
    Ok(Plan { request: request.clone(), vehicles, parameters })
}

/// The collections that the request covers.
fn requested(unread: Vec<UnreadCollection>, parameters: Option<&[Parameter]>) -> Vec<UnreadCollection> {
    let Some(parameters) = parameters else { return unread };
    let is_requested =
        |unread: &UnreadCollection| parameters.iter().any(|parameter| parameter.as_str() == unread.name);
    unread.into_iter().filter(is_requested).collect()
}

fn choose_vehicles(chosen: Option<&[VehicleId]>, source: &dyn Source) -> Result<Vec<VehicleId>, PlanError> {
    let found = source.vehicles()?;
    let Some(chosen) = chosen else { return Ok(found) };
    let unknown: Vec<VehicleId> = chosen.iter().filter(|vehicle| !found.contains(vehicle)).cloned().collect();
    if !unknown.is_empty() {
        return Err(PlanError::UnknownVehicles(unknown));
    }
    let mut chosen = chosen.to_vec();
    chosen.sort();
    Ok(chosen)
}

impl Plan {
    /// The collections that are read, by vehicle and then in the order of the columns.
    pub fn collections(&self) -> impl Iterator<Item = (VehicleId, Parameter)> + Send {
        self.vehicles.iter().flat_map(|planned| {
            let columns = self.parameters.iter().zip(&planned.has_collection);
            let existing = columns.filter(|(_, has_collection)| **has_collection);
            existing.map(|(parameter, _)| (planned.vehicle.clone(), parameter.clone()))
        })
    }

    /// The collections that are not read, with their vehicles, in the order of the vehicles.
    pub fn unread(&self) -> impl Iterator<Item = (&VehicleId, &UnreadCollection)> {
        self.vehicles
            .iter()
            .flat_map(|planned| planned.unread.iter().map(|unread| (&planned.vehicle, unread)))
    }

    /// Fails if the plan has more than `most` parameters. Each of them takes memory in every stage of
    /// the export: an open collection, a column, a part of each Parquet row group.
    pub fn check_columns(&self, most: usize) -> Result<(), PlanError> {
        let columns = self.parameters.len();
        if columns > most {
            return Err(PlanError::TooManyColumns { columns, most });
        }
        Ok(())
    }

    /// Fails if the plan fills more intervals than `most`. How many rows other plans have is known
    /// only when their points are read; [`ResultLimits`](crate::ResultLimits) bounds them.
    pub fn check_rows(&self, most: u64) -> Result<(), PlanError> {
        let rows = most_rows(&self.request, self.vehicles.len() as u64);
        if is_filled(&self.request) && rows > most {
            return Err(PlanError::TooManyRows { rows, most });
        }
        Ok(())
    }

    /// The names of the vehicles' files.
    pub(crate) fn file_names(&self) -> Vec<String> {
        let vehicles = self.vehicles.iter().map(|vehicle_plan| &vehicle_plan.vehicle);
        file_names(vehicles, &self.request.output)
    }

    /// The columns that do not have the name of their parameter.
    pub(crate) fn renamed_columns(&self, columns: &[String]) -> BTreeMap<String, String> {
        let named = self.parameters.iter().map(ToString::to_string).zip(columns.iter().cloned());
        named.filter(|(parameter, column)| parameter != column).collect()
    }

    /// The files that are not named after their vehicle.
    pub(crate) fn renamed_files(&self, names: &[String]) -> BTreeMap<String, String> {
        let vehicles = self.vehicles.iter().map(|vehicle_plan| vehicle_plan.vehicle.to_string());
        let is_renamed = |(vehicle, file): &(String, String)| {
            file.strip_prefix(vehicle.as_str()).and_then(|rest| rest.strip_prefix('.'))
                != Some(self.request.output.extension())
        };
        vehicles.zip(names.iter().cloned()).filter(is_renamed).collect()
    }

    /// The request as in the manifest. Options without a meaning for this result are left out.
    pub(crate) fn resolved_request(&self) -> ResolvedRequest {
        let ExportRequest { start_date, end_date, timezone, range, output, .. } = &self.request;
        ResolvedRequest {
            start_date: start_date.clone(),
            end_date: end_date.clone(),
            timezone: timezone.name().to_owned(),
            range: RangeText { from: range.from_rfc3339(), to: range.to_rfc3339() },
            vehicles: self.vehicles.iter().map(|vehicle_plan| vehicle_plan.vehicle.to_string()).collect(),
            parameters: self.parameters.iter().map(ToString::to_string).collect(),
            output: *output,
        }
    }
}
