//! Events: the notifications that a job has ended.
//!
//! An event names the job and its end state, and holds no link and no address of a result:
//! receivers read those from the API with a key of their own. The same end of the same job is
//! always the same event with the same id, however often it is sent, so receivers can drop
//! duplicates.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{JobId, Tenant};
use crate::job::JobState;

/// Most events of one job: its own end, and the end of its result.
pub const MAX_EVENTS_PER_JOB: usize = 2;

/// The kind of an event. The names are routing keys of the broker and part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// The job has a result.
    #[serde(rename = "export.finished")]
    Finished,
    /// The job has failed.
    #[serde(rename = "export.failed")]
    Failed,
    /// The job was cancelled.
    #[serde(rename = "export.cancelled")]
    Cancelled,
    /// The job's result has expired.
    #[serde(rename = "export.expired")]
    Expired,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Finished, Self::Failed, Self::Cancelled, Self::Expired];

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "export.finished",
            Self::Failed => "export.failed",
            Self::Cancelled => "export.cancelled",
            Self::Expired => "export.expired",
        }
    }

    /// The state that the job has entered.
    pub const fn state(self) -> JobState {
        match self {
            Self::Finished => JobState::Finished,
            Self::Failed => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
            Self::Expired => JobState::Expired,
        }
    }

    /// The kind's name without the prefix `export.`, for ids.
    fn suffix(self) -> &'static str {
        self.as_str().trim_start_matches("export.")
    }
}

/// An event of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The kind of the event.
    pub kind: EventKind,
    /// The job.
    pub job_id: JobId,
    /// The job's tenant.
    pub tenant: Tenant,
    /// When the job ended, or its result expired.
    pub occurred_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: EventKind,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    job_id: JobId,
    state: JobState,
    tenant: &'a Tenant,
}

impl Event {
    /// The event's id, the same each time it is sent. It has no dot, because Standard Webhooks
    /// separates signed fields by dots.
    pub fn id(&self) -> String {
        format!("{}-{}", self.job_id, self.kind.suffix())
    }

    /// The bytes to send: `{"type","timestamp","data":{"jobId","state","tenant"}}`, the same bytes
    /// each time.
    pub fn payload(&self) -> Vec<u8> {
        let payload = Payload {
            kind: self.kind,
            timestamp: self.occurred_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            data: Data { job_id: self.job_id, state: self.kind.state(), tenant: &self.tenant },
        };
        serde_json::to_vec(&payload).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_same_bytes_each_time() {
        let event = Event {
            kind: EventKind::Finished,
            job_id: "01983c5e-7a01-7c3a-9d5e-0123456789ab".parse().expect("an id"),
            tenant: "acme".parse().expect("a tenant"),
            occurred_at: DateTime::from_timestamp_millis(1_543_536_000_001).expect("a time"),
        };
        assert_eq!(event.id(), "01983c5e-7a01-7c3a-9d5e-0123456789ab-finished");
        let expected = r#"{"type":"export.finished","timestamp":"2018-11-30T00:00:00.001Z","data":{"jobId":"01983c5e-7a01-7c3a-9d5e-0123456789ab","state":"FINISHED","tenant":"acme"}}"#;
        assert_eq!(String::from_utf8_lossy(&event.payload()), expected);
    }

    #[test]
    fn kinds_have_one_name_and_one_state() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a string"), kind.as_str());
            assert_eq!(format!("export.{}", kind.suffix()), kind.as_str());
            assert_eq!(kind.state().as_str(), kind.suffix().to_uppercase());
        }
    }
}
