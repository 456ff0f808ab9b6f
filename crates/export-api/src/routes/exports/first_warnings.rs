//! The warnings of a job when it is created, by what the catalog knows.
//!
//! They say that the export will probably be empty while its client can still do something about
//! it. The worker reads the source itself; what it finds replaces them
//! ([`Job::warnings`](export_core::job::Job::warnings)).

use std::time::Duration;

use export_core::access::Principal;
use export_core::causes;
use export_core::request::ExportRequest;
use export_core::warnings::{Warning, Warnings};
use tokio::time::timeout;
use tracing::warn;

use crate::jobs::admission::CatalogView;
use crate::state::ApiState;

/// How long the answer to a POST waits for the catalog.
const CATALOG_TIMEOUT: Duration = Duration::from_millis(500);

/// The warnings about a request that is about to be accepted. A catalog that cannot be read in time
/// gives none, since the request is as good without them.
pub(super) async fn first_warnings(
    state: &ApiState,
    principal: &Principal,
    request: &ExportRequest,
) -> Warnings {
    let view = state.admission.catalog_view(&principal.vehicles, request);
    match timeout(CATALOG_TIMEOUT, view).await {
        Ok(Ok(view)) => return warnings_of(&view, request),
        Ok(Err(error)) => {
            warn!(error = %causes(error.as_ref()), "cannot read the catalog, so the job has no warnings from it");
        }
        Err(_) => warn!("the catalog did not answer in time, so the job has no warnings from it"),
    }
    Warnings::default()
}

fn warnings_of(view: &CatalogView, request: &ExportRequest) -> Warnings {
    let mut warnings = Warnings::default();
    if !view.status.is_trusted {
        warnings.extend([Warning::catalog_not_ready(view.status.listed_at_ms)]);
    }
    // An old list may lack vehicles, so it cannot tell that there is none.
    if view.status.is_trusted && request.vehicles.is_none() && view.vehicles == Some(0) {
        warnings.extend([Warning::no_vehicle()]);
    }
    let ended = &view.ended;
    if let Some(last_ms) = ended.all_at_ms {
        warnings.extend([Warning::after_last_data(last_ms)]);
    } else {
        let of_vehicle = |(vehicle, last_ms): &(_, i64)| Warning::after_last_data_of(vehicle, *last_ms);
        warnings.extend(ended.first.iter().map(of_vehicle));
        warnings.more += ended.count.saturating_sub(ended.first.len() as u64);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use export_source::{CatalogStatus, EndedBefore};
    use serde_json::json;

    use super::*;

    fn codes(view: &CatalogView, body: &serde_json::Value) -> Vec<String> {
        let request = ExportRequest::parse(body).expect("a request");
        warnings_of(view, &request).list.into_iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn the_catalog_warns_of_what_it_knows() {
        let all = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        let named = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["a"] });
        let trusted = CatalogStatus { listed_at_ms: Some(1), age_seconds: Some(1), is_trusted: true };
        let view = |status, vehicles, ended| CatalogView { status, vehicles, ended };
        let none = EndedBefore::default;
        assert!(codes(&view(trusted, Some(1), none()), &all).is_empty());
        assert_eq!(codes(&view(trusted, Some(0), none()), &all), ["no_vehicle_allowed"]);
        assert!(codes(&view(trusted, None, none()), &named).is_empty());
        let untrusted = CatalogStatus::default();
        assert_eq!(codes(&view(untrusted, Some(0), none()), &all), ["catalog_not_ready"]);

        let one = vec![("a".parse().expect("a vehicle"), 7)];
        let all_ended = EndedBefore { first: one.clone(), count: 1, all_at_ms: Some(7) };
        let request = ExportRequest::parse(&all).expect("a request");
        let found = warnings_of(&view(trusted, Some(1), all_ended), &request);
        assert_eq!((found.list.len(), found.list[0].vehicle.as_ref()), (1, None), "about the whole export");
        let some_ended = EndedBefore { first: one, count: 3, all_at_ms: None };
        let found = warnings_of(&view(trusted, Some(4), some_ended), &request);
        assert_eq!((found.list[0].vehicle.as_deref(), found.more), (Some("a"), 2));
    }
}
