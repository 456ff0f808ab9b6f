//! MongoDB as the source: the vehicles' databases, which other systems write and this project only
//! reads.
//!
//! [`VehicleDatabases`] finds vehicles, [`MongoSource`] reads their hour documents for the engine,
//! and [`Catalog`] keeps the list of vehicles for the API. Types of the driver do not leave this
//! crate and `export-mongo`.

mod catalog;
mod demo;
mod gate;
mod preference;
mod reader;
mod resume;
mod source;
mod state;
mod throttle;
mod vehicles;

pub use catalog::{
    Catalog, CatalogLease, CatalogStatus, CataloguedParameter, CataloguedVehicle, EndedBefore,
    KnownParameters, ListChange, Survey, VehicleLook, VehiclePage,
};
pub use demo::add_missing_hours;
pub use export_mongo::StoreError;
pub use export_mongo::client::{MongoClient, connect, connect_source};
pub use gate::ReadAhead;
pub use preference::{ReadFrom, UnknownMode};
pub use source::MongoSource;
pub use throttle::{ReadLimits, ReadingNow, SourceThrottle};
pub use vehicles::VehicleDatabases;
