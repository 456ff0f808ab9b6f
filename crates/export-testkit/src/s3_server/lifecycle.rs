//! Buckets' lifecycle rules: stored and returned, never executed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

/// Far more than S3's maximum of a thousand rules per bucket needs.
const MAX_BYTES: usize = 1 << 20;

/// The rules of each bucket, as they came.
pub(super) struct Lifecycles {
    administrators: HashSet<String>,
    by_path: Mutex<HashMap<String, Bytes>>,
}

impl Lifecycles {
    pub(super) fn new(administrators: HashSet<String>) -> Self {
        Self { administrators, by_path: Mutex::default() }
    }
}

#[async_trait]
impl S3Route for Lifecycles {
    fn is_match(&self, method: &Method, uri: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        let names = uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next());
        matches!(*method, Method::GET | Method::PUT)
            && names.into_iter().any(|name| name == Some("lifecycle"))
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let key = request.credentials.as_ref().map(|credentials| &credentials.access_key);
        if key.is_some_and(|key| self.administrators.contains(key)) {
            Ok(())
        } else {
            Err(s3_error!(AccessDenied, "Access Denied"))
        }
    }

    async fn call(&self, mut request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let path = request.uri.path().trim_end_matches('/').to_owned();
        if request.method == Method::PUT {
            let rules = request.input.store_all_limited(MAX_BYTES).await;
            let rules = rules.map_err(|error| s3_error!(InvalidRequest, "{error}"))?;
            self.by_path.lock().unwrap_or_else(PoisonError::into_inner).insert(path, rules);
            return Ok(S3Response::new(Body::empty()));
        }
        let known = self.by_path.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
        known.map(|rules| S3Response::new(Body::from(rules))).ok_or_else(|| {
            let mut error = s3_error!(NoSuchLifecycleConfiguration);
            error.set_status_code(StatusCode::NOT_FOUND);
            error
        })
    }
}
