//! Whether there is room for one more job, and whether an export is of a size that is served.
//!
//! Jobs wait in MongoDB, and that is where they are counted; [`tally`] says how seldom, and how exact it is all the same.

mod tally;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use export_core::Tenant;
use export_core::access::AllowedVehicles;
use export_core::admission::{SizeLimits, VehicleCount};
use export_core::request::ExportRequest;
use export_source::Catalog;
use export_store::{JobStore, StoreError};

use super::answer_cache::AnswerCache;
use crate::config::AdmissionSettings;
use crate::http::problem::Problem;
use crate::jobs::queue::Queue;
use tally::{Asked, Room, Tally};

/// Tenants whose counts are kept at most, but those whose jobs are being accepted.
const TENANTS: usize = 1_024;
/// How long the number of vehicles is taken for what it was: the catalog itself is some seconds late.
const VEHICLES_AGE: Duration = Duration::from_secs(5);
/// Sets of patterns whose number of vehicles is kept.
const SETS_OF_VEHICLES: u64 = 256;

/// Who is let in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: AdmissionSettings,
    jobs: JobStore,
    catalog: Catalog,
    queue: Queue,
    all: Arc<Tally>,
    tenants: Mutex<HashMap<Tenant, Arc<Tally>>>,
    vehicles: AnswerCache<Option<Vec<String>>, VehicleCount>,
}

/// Room for one job that is about to be written; given back when it is dropped, unless the job was written.
#[derive(Debug)]
pub struct Ticket {
    of_tenant: Room,
    of_all: Room,
}

impl Ticket {
    /// The job was written, or may have been.
    pub fn used(self) {
        self.of_tenant.written();
        self.of_all.written();
    }
}

impl Admission {
    /// As the settings want it.
    pub fn new(settings: AdmissionSettings, jobs: JobStore, catalog: Catalog, queue: Queue) -> Self {
        let (all, tenants) = (Arc::default(), Mutex::default());
        let vehicles = AnswerCache::new(SETS_OF_VEHICLES, VEHICLES_AGE);
        Self(Arc::new(Inner { settings, jobs, catalog, queue, all, tenants, vehicles }))
    }

    /// How large an export may be.
    pub fn size(&self) -> SizeLimits {
        self.0.settings.size.into()
    }

    /// How many vehicles the request is about. Costs nothing where it names them.
    pub async fn vehicles(
        &self,
        allowed: &AllowedVehicles,
        request: &ExportRequest,
    ) -> Result<VehicleCount, Arc<StoreError>> {
        if let Some(named) = &request.vehicles {
            return Ok(VehicleCount::Named(u64::try_from(named.len()).unwrap_or(u64::MAX)));
        }
        let key = match allowed {
            AllowedVehicles::All => None,
            AllowedVehicles::Like(patterns) => {
                Some(patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect())
            }
        };
        let (catalog, allowed) = (self.0.catalog.clone(), allowed.clone());
        let count = || async move {
            let catalog_status = catalog.status().await?;
            Ok(match catalog_status.listed_at_ms {
                None => VehicleCount::Unknown(None),
                Some(_) if catalog_status.is_trusted => VehicleCount::All(catalog.count(&allowed).await?),
                Some(_) => VehicleCount::Unknown(Some(catalog.count(&allowed).await?)),
            })
        };
        self.0.vehicles.get(key, VEHICLES_AGE, count).await
    }

    /// Room for one more job of this tenant, or the answer that there is none.
    pub async fn ticket(&self, tenant: &Tenant) -> Result<Ticket, Problem> {
        let (inner, tally) = (&self.0, self.tally(tenant));
        let unavailable = |error: Arc<StoreError>| Problem::unavailable(&*error);
        let most = u64::from(inner.settings.max_queued_per_tenant.get());
        let asked = tally.take(most, || inner.jobs.count_queued(Some(tenant), most)).await;
        let Asked::Taken(of_tenant) = asked.map_err(unavailable)? else {
            let seconds = inner.queue.seconds_of_a_start(Some(tenant)).await;
            let detail = format!(
                "As many of your exports wait as may: {most}. There is room for others when some of those have begun or are cancelled."
            );
            return Err(Problem::queue_full(detail, seconds));
        };
        let most = u64::from(inner.settings.max_queued.get());
        let asked = inner.all.take(most, || inner.jobs.count_queued(None, most)).await;
        let Asked::Taken(of_all) = asked.map_err(unavailable)? else {
            let seconds = inner.queue.seconds_of_a_start(None).await;
            return Err(Problem::service_full(seconds));
        };
        Ok(Ticket { of_tenant, of_all })
    }

    fn tally(&self, tenant: &Tenant) -> Arc<Tally> {
        let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = tenants.get(tenant) {
            return Arc::clone(tally);
        }
        if tenants.len() >= TENANTS {
            // Their next job is counted afresh.
            tenants.retain(|_, tally| Arc::strong_count(tally) > 1 || !tally.is_idle());
        }
        Arc::clone(tenants.entry(tenant.clone()).or_default())
    }
}
