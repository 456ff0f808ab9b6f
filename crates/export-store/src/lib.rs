//! MongoDB as the job store: the jobs (the source of truth about every export), and their related
//! data.
//!
//! [`JobStore`] is the only way to change a job's state. Each change that a service makes to a
//! stored job is a compare-and-set on its document, acknowledged by a majority and with times from
//! the server. Methods for many jobs ([`JobStore::create_all`], [`JobStore::mark_all_published`])
//! send several changes with one command, but the database makes each of them on its own. The
//! dispatcher's turn ([`JobStore::take_turn`]) is not acknowledged by a majority, because safety
//! does not depend on it.
//!
//! Types of the driver do not leave this crate and `export-mongo`.

mod audit;
mod changes;
mod identities;
mod jobs;
mod keys;
mod migration;
mod outbox;
mod results;
mod retention;
mod scheduling;
mod schema;
mod tenants;
mod workers;

pub use audit::{AuditAction, AuditEntry, AuditError, AuditLog};
pub use changes::{Changes, Subscription};
pub use export_mongo::StoreError;
pub use export_mongo::client::{MongoClient, check_uri, connect};
pub use export_mongo::server_errors::{is_authentication_failure, is_outage};
pub use identities::{Identity, MongoUser, provision_user};
pub use jobs::claims::{Claim, Claimability, Held};
pub use jobs::compare_and_set::BackOff;
pub use jobs::create::{Created, Written};
pub use jobs::list::{JobPage, JobsWanted};
pub use jobs::{Cancelled, JobStore};
pub use keys::{FoundKey, KeyEnd, KeyStore, NewKey};
pub use outbox::{Channel, Delivery, Due, Failed, Outbox, PutOff};
pub use results::{Comparison, FinishedResult, NextStep, StoredResults, Writing};
pub use retention::Retention;
pub use scheduling::dispatching::{Occupancy, PendingMessage, Wanted};
pub use scheduling::queue::{Line, Recent};
pub use scheduling::slots::{RunSlot, RunSlots};
pub use scheduling::sweep::{Swept, SweptResults};
pub use scheduling::turns::Turn;
pub use tenants::{TenantCeiling, TenantStore};
pub use workers::{REPORT_INTERVAL, WorkerRegistry, WorkerReport};
