//! The dispatch turn: one API process at a time publishes waiting jobs.
//!
//! The turn is a [lease](export_mongo::lease) on the one document of the collection `turns`. It
//! saves work and orders the tenants; safety does not depend on it. Two dispatchers that both hold
//! the turn publish some messages twice, and the worker that gets the second message finds the job
//! claimed. Therefore turns are written without waiting for a majority and its journals, unlike
//! jobs.

use std::time::Duration;

use bson::doc;
use export_core::Tenant;
use export_mongo::StoreError;
use export_mongo::documents::{Documents, set};
use export_mongo::lease::{Lease, released};
use export_mongo::server_errors::is_duplicate;
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};

use crate::jobs::JobStore;

/// `_id` of the one document.
const TURN: &str = "dispatch";
/// How long a dispatcher that died keeps the others from publishing jobs.
const LEASE: Duration = Duration::from_secs(10);

/// A dispatcher's turn to publish jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The tenant whose job was published last.
    pub last_tenant: Option<Tenant>,
}

impl JobStore {
    /// Takes or renews the turn; `None` while another dispatcher has it.
    pub async fn take_turn(&self, owner: &str) -> Result<Option<Turn>, StoreError> {
        let lease = Lease { owner, length: LEASE };
        let is_free = lease.is_free_or_own();
        // The condition is in the change and not in the filter, so that the upsert creates a
        // missing document.
        let unless_taken = lease.taken().into_iter().map(|(field, value)| {
            let current = format!("${field}");
            (field, doc! { "$cond": [&is_free, value, current] }.into())
        });
        let take = set(unless_taken.collect());
        let taken =
            self.turns().upsert("take the turn to dispatch", doc! { "_id": TURN }, take, doc! {}).await;
        let turn = match taken {
            // Another dispatcher has created the document at the same moment.
            Err(error) if is_duplicate(&error) => return Ok(None),
            taken => taken?,
        };
        let is_own = turn.get_str("owner").is_ok_and(|of| of == owner);
        let last_tenant = turn.get_str("lastTenant").ok().and_then(|name| name.parse().ok());
        Ok(is_own.then_some(Turn { last_tenant }))
    }

    /// Ends the turn and stores the tenant whose job was published last. Does nothing when another
    /// dispatcher has it.
    pub async fn end_turn(&self, owner: &str, last_tenant: Option<&Tenant>) -> Result<(), StoreError> {
        let mut changes = released();
        if let Some(tenant) = last_tenant {
            changes.insert("lastTenant", tenant.as_str());
        }
        let own = doc! { "_id": TURN, "owner": owner };
        self.turns().update_one("end the turn to dispatch", own, doc! { "$set": changes }).await.map(drop)
    }

    fn turns(&self) -> Documents {
        let at_once = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
        let options = CollectionOptions::builder().write_concern(at_once).build();
        self.jobs.sibling("turns", options)
    }
}
