//! Admission control: the limits of queued jobs, of the size of an export, and of stored results.
//!
//! A job is *queued* while it is `NOT_STARTED`, whether or not its message is in the broker. Queued
//! jobs are counted in MongoDB, at most once per second; [`counter`] explains why the limits are
//! nevertheless exact.
//!
//! What a tenant has stored is counted at most once in [`STORED_AGE`]. Exports that were accepted
//! before are not counted until they have finished, so the quota may be exceeded by as much as they
//! store.

mod counter;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use export_core::access::AllowedVehicles;
use export_core::admission::{SizeLimits, VehicleCount};
use export_core::request::ExportRequest;
use export_core::sharing::ShareKey;
use export_core::{Tenant, VehicleId};
use export_source::{Catalog, CatalogStatus, EndedBefore, KnownParameters};
use export_store::{JobStore, StoreError, StoredResults};

use super::answer_cache::AnswerCache;
use crate::config::AdmissionSettings;
use crate::http::problem::{Problem, Reason};
use crate::http::rate::Rate;
use crate::jobs::queue::Queue;
use counter::{AdmissionCounter, CounterPermit};

/// Maximum number of tenants with a counter. Tenants with jobs that are being written do not count.
const MAX_TENANTS: usize = 1_024;
/// Maximum age of an answer of which the catalog is certain. The catalog itself is some seconds
/// late.
const VEHICLES_AGE: Duration = Duration::from_secs(5);
/// Maximum age of an answer of which the catalog is not certain, because it may be certain soon. It
/// only keeps many requests from asking MongoDB one after the other.
const UNCERTAIN_AGE: Duration = Duration::from_millis(250);
/// Maximum number of requests whose measured rows are cached.
const MAX_MEASURED: u64 = 4_096;
/// Maximum number of requests whose view of the catalog is cached.
const MAX_CATALOG_VIEWS: u64 = 1_024;
/// Maximum age of the number of bytes that a tenant has stored.
const STORED_AGE: Duration = Duration::from_secs(5);
/// Maximum number of pattern sets whose parameters are cached.
const MAX_PARAMETER_LISTS: u64 = 64;
/// Maximum number of pattern sets whose number of vehicles is cached.
const MAX_VEHICLE_COUNTS: u64 = 256;

/// Admits jobs within the limits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: AdmissionSettings,
    jobs: JobStore,
    catalog: Catalog,
    queue: Queue,
    all_tenants: Arc<AdmissionCounter>,
    by_tenant: Mutex<HashMap<Tenant, Arc<AdmissionCounter>>>,
    vehicles: AnswerCache<Option<Vec<String>>, VehicleCount>,
    parameters: AnswerCache<Option<Vec<String>>, Arc<KnownParameters>>,
    /// The fewest rows of an export; `None` where nothing was measured.
    measured_rows: AnswerCache<ShareKey, Option<u64>>,
    catalog_views: AnswerCache<ShareKey, Arc<CatalogView>>,
    stored: AnswerCache<Tenant, StoredResults>,
    /// Jobs that were created, by tenant.
    created: Rate,
}

/// What the catalog knows about the vehicles of a request.
#[derive(Clone, Debug, Default)]
pub struct CatalogView {
    /// How current it is.
    pub status: CatalogStatus,
    /// The number of vehicles, if the request names none.
    pub vehicles: Option<u64>,
    /// Those whose data ends before the range.
    pub ended: EndedBefore,
}

/// Permission to write one job. Dropping it takes the admission back, unless
/// [kept](Self::keep).
#[derive(Debug)]
pub struct AdmissionPermit {
    of_tenant: CounterPermit,
    of_all: CounterPermit,
}

impl AdmissionPermit {
    /// Keeps the admission, because the job was written or may have been.
    pub fn keep(self) {
        self.of_tenant.keep();
        self.of_all.keep();
    }
}

impl Admission {
    /// Admission control with the limits of the settings.
    pub fn new(settings: AdmissionSettings, jobs: JobStore, catalog: Catalog, queue: Queue) -> Self {
        let (all_tenants, by_tenant) = (Arc::default(), Mutex::default());
        let vehicles = AnswerCache::new(MAX_VEHICLE_COUNTS, VEHICLES_AGE);
        let parameters = AnswerCache::new(MAX_PARAMETER_LISTS, VEHICLES_AGE);
        let measured_rows = AnswerCache::new(MAX_MEASURED, VEHICLES_AGE);
        let catalog_views = AnswerCache::new(MAX_CATALOG_VIEWS, VEHICLES_AGE);
        let stored = AnswerCache::new(MAX_TENANTS as u64, STORED_AGE);
        let created = Rate::per_hour(settings.max_jobs_per_hour_per_tenant);
        Self(Arc::new(Inner {
            settings,
            jobs,
            catalog,
            queue,
            all_tenants,
            by_tenant,
            vehicles,
            parameters,
            measured_rows,
            catalog_views,
            stored,
            created,
        }))
    }

    /// The maximum size of an export.
    pub fn size(&self) -> SizeLimits {
        self.0.settings.size.into()
    }

    /// The number of vehicles of the request. Reads the catalog only if the request names none.
    pub async fn vehicles(
        &self,
        allowed: &AllowedVehicles,
        request: &ExportRequest,
    ) -> Result<VehicleCount, Arc<StoreError>> {
        if let Some(named) = &request.vehicles {
            return Ok(VehicleCount::Named(u64::try_from(named.len()).unwrap_or(u64::MAX)));
        }
        let key = texts_of(allowed);
        let (catalog, allowed) = (self.0.catalog.clone(), allowed.clone());
        let count = || async move {
            let catalog_status = catalog.status().await?;
            Ok(match catalog_status.listed_at_ms {
                None => VehicleCount::Unknown(None),
                Some(_) if catalog_status.is_trusted => VehicleCount::All(catalog.count(&allowed).await?),
                Some(_) => VehicleCount::Unknown(Some(catalog.count(&allowed).await?)),
            })
        };
        let max_age = |count: &VehicleCount| age(count.is_certain());
        self.0.vehicles.get_by_age(key, max_age, count).await
    }

    /// The parameters of the vehicles that a request names, or of all allowed ones. For all of them
    /// the server reads the whole catalog, so that answer is cached.
    pub async fn parameters(
        &self,
        allowed: &AllowedVehicles,
        named: Option<&[VehicleId]>,
    ) -> Result<Arc<KnownParameters>, Arc<StoreError>> {
        let catalog = &self.0.catalog;
        if named.is_some() {
            return Ok(Arc::new(catalog.known_parameters(allowed, named).await?));
        }
        let (catalog, of) = (catalog.clone(), allowed.clone());
        let list = || async move { Ok(Arc::new(catalog.known_parameters(&of, None).await?)) };
        let max_age = |known: &Arc<KnownParameters>| age(known.are_all);
        self.0.parameters.get_by_age(texts_of(allowed), max_age, list).await
    }

    /// The fewest rows that the export has, as far as the catalog has measured its vehicles; `None`
    /// if it has measured none of them.
    pub async fn measured_rows(
        &self,
        allowed: &AllowedVehicles,
        request: &ExportRequest,
    ) -> Result<Option<u64>, Arc<StoreError>> {
        let key = ShareKey::of(request, allowed);
        let (catalog, allowed, request) = (self.0.catalog.clone(), allowed.clone(), request.clone());
        let measure = || async move {
            let (vehicles, parameters) = (request.vehicles.as_deref(), request.parameters.as_deref());
            let measured =
                catalog.measured(&allowed, vehicles, parameters, request.range, &request.output).await?;
            Ok(measured.least_rows())
        };
        let max_age = |rows: &Option<u64>| age(rows.is_some());
        self.0.measured_rows.get_by_age(key, max_age, measure).await
    }

    /// What the catalog knows about the vehicles of a request, for its warnings.
    pub async fn catalog_view(
        &self,
        allowed: &AllowedVehicles,
        request: &ExportRequest,
    ) -> Result<Arc<CatalogView>, Arc<StoreError>> {
        let vehicles = match self.vehicles(allowed, request).await? {
            VehicleCount::All(count) => Some(count),
            _ => None,
        };
        let key = ShareKey::of(request, allowed);
        let (catalog, allowed, request) = (self.0.catalog.clone(), allowed.clone(), request.clone());
        let look = || async move {
            let status = catalog.status().await?;
            let chosen = request.vehicles.as_deref();
            let ended = catalog.ended_before(&allowed, chosen, request.range).await?;
            Ok(Arc::new(CatalogView { status, vehicles, ended }))
        };
        let max_age = |view: &Arc<CatalogView>| age(view.status.is_trusted);
        self.0.catalog_views.get_by_age(key, max_age, look).await
    }

    /// Fails with 422 if the tenant's results take as many bytes as they may.
    async fn check_stored(&self, tenant: &Tenant) -> Result<(), Problem> {
        let Some(quota) = self.0.settings.max_stored_bytes_per_tenant else { return Ok(()) };
        let (jobs, of) = (self.0.jobs.clone(), tenant.clone());
        let sum = || async move { jobs.stored_results(&of).await };
        let stored = self.0.stored.get(tenant.clone(), STORED_AGE, sum).await?;
        if stored.bytes < quota.get() { Ok(()) } else { Err(Problem::storage_full(stored, quota)) }
    }

    /// Admits one more job of the tenant, or fails with 429 or 422 if a limit is reached.
    pub async fn admit(&self, tenant: &Tenant) -> Result<AdmissionPermit, Problem> {
        self.check_stored(tenant).await?;
        let (inner, counter) = (&self.0, self.counter(tenant));
        let limit = u64::from(inner.settings.max_queued_per_tenant.get());
        let of_tenant = counter.admit(limit, || inner.jobs.count_queued(Some(tenant), limit)).await?;
        let Some(of_tenant) = of_tenant else {
            let seconds = inner.queue.seconds_until_start(Some(tenant)).await;
            let detail = format!(
                "You have the maximum number of waiting exports: {limit}. Try again when some of them have started or are cancelled."
            );
            return Err(Problem::queue_full(detail, seconds).because(Reason::TenantLine));
        };
        let limit = u64::from(inner.settings.max_queued.get());
        let of_all = inner.all_tenants.admit(limit, || inner.jobs.count_queued(None, limit)).await?;
        let Some(of_all) = of_all else {
            let seconds = inner.queue.seconds_until_start(None).await;
            return Err(Problem::service_full(seconds).because(Reason::Line));
        };
        // Last, so that a job that is refused for another reason does not count.
        self.0.created.check(tenant).map_err(|seconds| {
            let limit = inner.settings.max_jobs_per_hour_per_tenant;
            let detail = format!(
                "Your tenant has created exports faster than {limit} per hour, which is the maximum; try again in {seconds} s."
            );
            Problem::too_many_requests(detail, seconds).because(Reason::JobsPerHour)
        })?;
        Ok(AdmissionPermit { of_tenant, of_all })
    }

    fn counter(&self, tenant: &Tenant) -> Arc<AdmissionCounter> {
        let mut tenants = self.0.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = tenants.get(tenant) {
            return Arc::clone(counter);
        }
        if tenants.len() >= MAX_TENANTS {
            // The next job of a removed tenant starts with a new count.
            tenants.retain(|_, counter| Arc::strong_count(counter) > 1 || !counter.is_idle());
        }
        Arc::clone(tenants.entry(tenant.clone()).or_default())
    }
}

/// The maximum age of an answer: short if the catalog is not certain of it.
fn age(is_certain: bool) -> Duration {
    if is_certain { VEHICLES_AGE } else { UNCERTAIN_AGE }
}

/// The patterns as texts, the key of a cached answer; `None` for all vehicles.
fn texts_of(allowed: &AllowedVehicles) -> Option<Vec<String>> {
    match allowed {
        AllowedVehicles::All => None,
        AllowedVehicles::Like(patterns) => {
            Some(patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect())
        }
    }
}
