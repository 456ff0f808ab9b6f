//! The message that wakes up a worker. The job document is the truth; the message only names the
//! job.

use serde::{Deserialize, Serialize};

use crate::id::JobId;

/// Version of the message's layout.
const VERSION: u32 = 1;

/// `{"v":1,"jobId":"…"}` on the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeUp {
    /// The job to claim.
    pub job_id: JobId,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    #[serde(rename = "jobId")]
    job_id: String,
}

/// Why a message cannot be read. Delivering it again never helps.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON in the expected form.
    #[error("not a wake-up message")]
    NotAWakeUp,
    /// An unknown version of the layout.
    #[error("version {0} of the wake-up message is unknown")]
    UnknownVersion(u32),
    /// The job id is invalid.
    #[error("the wake-up message's jobId is not a job id")]
    NotAJobId,
}

impl WakeUp {
    /// The message's bytes.
    pub fn encode(self) -> Vec<u8> {
        format!(r#"{{"v":{VERSION},"jobId":"{}"}}"#, self.job_id).into_bytes()
    }

    /// Reads a message. Unknown fields are allowed, so that later versions can add fields.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let wire: Wire = serde_json::from_slice(body).map_err(|_| MessageError::NotAWakeUp)?;
        if wire.v != VERSION {
            return Err(MessageError::UnknownVersion(wire.v));
        }
        let job_id = wire.job_id.parse().map_err(|_| MessageError::NotAJobId)?;
        Ok(Self { job_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let message = WakeUp { job_id: "01983c5e-7a01-7c3a-9d5e-0123456789ab".parse().expect("an id") };
        assert_eq!(message.encode(), br#"{"v":1,"jobId":"01983c5e-7a01-7c3a-9d5e-0123456789ab"}"#);
        assert_eq!(WakeUp::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn unreadable_messages_are_rejected_with_their_reason() {
        assert_eq!(WakeUp::decode(b"hello"), Err(MessageError::NotAWakeUp));
        assert_eq!(WakeUp::decode(b""), Err(MessageError::NotAWakeUp));
        assert_eq!(WakeUp::decode(br#"{"v":2,"jobId":""}"#), Err(MessageError::UnknownVersion(2)));
        assert_eq!(WakeUp::decode(br#"{"v":1,"jobId":"7"}"#), Err(MessageError::NotAJobId));
    }
}
