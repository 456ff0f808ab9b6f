//! MongoDB: the jobs (the truth about every export) and the vehicles' databases (read only).
//!
//! [`JobStore`] is the only door to a job's state; each change is one compare-and-set on one document, acknowledged by
//! a majority and with times from the server. [`VehicleDatabases`] finds vehicles, and [`MongoSource`] reads their hour
//! documents for the engine. Types of the driver do not leave this crate.

mod accepting;
mod audit;
mod catalog;
mod changes;
mod claims;
mod client;
mod demo;
mod dispatching;
mod document;
mod error;
mod gate;
mod identities;
mod jobs;
mod keys;
mod list;
mod lookups;
mod migration;
mod outbox;
mod places;
mod preference;
mod queue;
mod reader;
mod results;
mod resume;
mod rules;
mod schema;
mod source;
mod sweep;
mod throttle;
mod vehicles;

pub use accepting::{Created, Written};
pub use audit::{AuditAction, AuditEntry, AuditError, AuditLog};
pub use catalog::{
    Catalog, CataloguedParameter, CataloguedVehicle, Keeping, KnownParameters, ListChange, Standing, Survey,
    VehicleLook, VehiclePage,
};
pub use changes::{AnyChange, Changes, Subscription};
pub use claims::{Claim, Held};
pub use client::{MongoClient, connect, connect_source};
pub use dispatching::{Occupancy, Turn};
pub use error::StoreError;
pub use gate::ReadAhead;
pub use identities::{Identity, MongoUser};
pub use jobs::{Cancelled, JobStore};
pub use keys::{FoundKey, KeyEnd, KeyStore, NewKey};
pub use list::{JobPage, JobsWanted, Seer};
pub use outbox::{Busy, Channel, Delivery, Due, Failed, Outbox, PutOff};
pub use places::{Place, Places};
pub use preference::{ReadFrom, UnknownMode};
pub use queue::{Line, Recent};
pub use results::{Begun, FinishedResult, SweptResults, Writing};
pub use rules::BackOff;
pub use source::MongoSource;
pub use sweep::{Swept, Unpublished};
pub use throttle::{ReadLimits, ReadingNow, SourceThrottle};
pub use vehicles::VehicleDatabases;
