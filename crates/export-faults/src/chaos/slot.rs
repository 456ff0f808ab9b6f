//! A place for one program: whatever is done to it, one is started there again.

use std::sync::{Mutex, PoisonError};

use tokio::sync::MutexGuard;

use super::fault::Process;
use crate::{Api, Service, Worker};

/// A program that runs.
pub(super) enum Member {
    Api(Api),
    Worker(Worker),
}

impl Member {
    pub(super) fn service(&mut self) -> &mut Service {
        match self {
            Self::Api(api) => api,
            Self::Worker(worker) => worker,
        }
    }
}

/// A place.
pub(super) struct Slot {
    pub(super) process: Process,
    /// Locked as long as something is done to the program itself.
    member: tokio::sync::Mutex<Option<Member>>,
    /// Where the API of this place listens, also while it is frozen.
    url: Mutex<Option<String>>,
}

impl Slot {
    pub(super) fn new(process: Process) -> Self {
        Self { process, member: tokio::sync::Mutex::default(), url: Mutex::default() }
    }

    pub(super) async fn lock(&self) -> MutexGuard<'_, Option<Member>> {
        self.member.lock().await
    }

    pub(super) fn url(&self) -> Option<String> {
        self.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Clients find what is here now.
    pub(super) fn announce(&self, member: Option<&Member>) {
        let url = match member {
            Some(Member::Api(api)) => Some(api.url()),
            _ => None,
        };
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// For people: `api 0`, `worker 2`.
    pub(super) fn name(&self) -> String {
        match self.process {
            Process::Api(number) => format!("api-{number}"),
            Process::Worker(number) => format!("worker-{number}"),
        }
    }
}
