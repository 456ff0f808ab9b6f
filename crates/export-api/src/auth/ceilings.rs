//! The vehicles that the operator lets each tenant see at most (`exports tenants limit`).

use std::sync::Arc;
use std::time::Duration;

use export_core::Tenant;
use export_core::access::AllowedVehicles;
use export_store::TenantStore;
use tokio::time::timeout;

use crate::http::problem::Problem;
use crate::jobs::answer_cache::AnswerCache;

/// Maximum number of tenants whose ceiling is cached: a few megabytes.
const MAX_CACHED: u64 = 1_024;
/// Timeout of the lookup of a ceiling.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// A tenant's ceiling; `None` if the operator has set none.
type Ceiling = Option<Arc<AllowedVehicles>>;

/// The tenants' ceilings. They are cached as long as keys, so a change takes effect as soon as the
/// revocation of a key.
#[derive(Debug)]
pub(super) struct Ceilings {
    store: TenantStore,
    max_age: Duration,
    known: AnswerCache<Tenant, Ceiling>,
}

impl Ceilings {
    pub(super) fn new(store: TenantStore, max_age: Duration) -> Self {
        Self { store, max_age, known: AnswerCache::new(MAX_CACHED, max_age) }
    }

    /// The vehicles of a caller of this tenant, which may see `own` by its key or token; `None` for
    /// a token that names none.
    ///
    /// # Errors
    /// 403 if neither the token nor the operator names vehicles, or if the patterns are too many;
    /// 503 if the ceiling cannot be read.
    pub(super) async fn apply(
        &self,
        tenant: &Tenant,
        own: Option<AllowedVehicles>,
        claim: &str,
    ) -> Result<AllowedVehicles, Problem> {
        let (store, wanted) = (self.store.clone(), tenant.clone());
        let read = || async move { Ok(store.ceiling(&wanted).await?.map(Arc::new)) };
        let found = timeout(LOOKUP_TIMEOUT, self.known.get(tenant.clone(), self.max_age, read)).await;
        let ceiling = found.map_err(|elapsed| Problem::unavailable(&elapsed))??;
        match (own, ceiling) {
            (Some(own), None) => Ok(own),
            (None, Some(ceiling)) => Ok(ceiling.as_ref().clone()),
            (Some(own), Some(ceiling)) => own.within(&ceiling).map_err(|_| Problem::too_many_patterns()),
            // All vehicles are granted by the operator only, never by a claim that is missing.
            (None, None) => Err(Problem::unusable_token(format!(
                "The token must have the claim {claim}, a list of vehicles or patterns of them such as vehicle_0*; or the operator of this service sets the vehicles of the tenant with `exports tenants limit`."
            ))),
        }
    }
}
