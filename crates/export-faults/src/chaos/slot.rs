//! A slot for one program: after every fault a program is started there again.

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

/// A slot for one program.
pub(super) struct Slot {
    pub(super) process: Process,
    /// Locked while the program itself is killed, stopped or started.
    member: tokio::sync::Mutex<Option<Member>>,
    /// The address of this slot's API, also while it is frozen.
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

    /// Clients use the current address.
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
