//! The faults of a schedule.

use std::fmt;

use fastrand::Rng;

/// APIs of a schedule.
pub(super) const APIS: usize = 2;
/// Workers of a schedule.
pub(super) const WORKERS: usize = 3;

/// One of the programs that a schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// An API, by its number.
    Api(usize),
    /// A worker, by its number.
    Worker(usize),
}

/// A service that a program uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The database.
    Mongodb,
    /// The broker.
    Rabbitmq,
    /// The object store.
    S3,
}

/// A fault between a program and a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Connections end, and new ones too.
    Cut,
    /// Connections end; new ones work.
    Drop,
    /// Bytes from the program are held.
    HoldRequests,
    /// Bytes from the service are held.
    HoldAnswers,
    /// No bytes are forwarded in either direction.
    Silence,
    /// Answers are delayed by this many milliseconds.
    Delay(u64),
}

/// A fault, temporary or momentary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; restarted after this many milliseconds.
    Kill(Process, u64),
    /// SIGTERM to a worker; restarted after this many milliseconds.
    Stop(usize, u64),
    /// SIGSTOP, then SIGCONT after this many milliseconds.
    Freeze(Process, u64),
    /// For this many milliseconds.
    Network(Process, Service, Network, u64),
    /// This many publisher confirms never reach this API; its connection is reset instead.
    LoseConfirms(usize, usize),
    /// The broker is restarted, after a clean shutdown or with SIGKILL.
    RestartBroker(bool),
    /// The ready messages of the jobs' queue are purged, or those of the retry queue.
    Purge(bool),
    /// The jobs' queue is deleted, and created again after this many milliseconds.
    DeleteQueue(u64),
    /// This many duplicate messages for an accepted job.
    Duplicates(usize),
    /// A message that names no job: the kind of invalid body, and a number in it.
    Poison(u8, u64),
    /// The primary steps down.
    StepDown,
    /// The database is restarted, after a clean shutdown or with SIGKILL.
    RestartMongod(bool),
    /// This many of a worker's write requests are answered with this status and not executed.
    S3Refuses(usize, u16, usize),
    /// This many replies to a worker are lost: of completed uploads, or of objects and parts.
    LoseReplies(usize, bool, usize),
    /// A worker's connection to S3 is limited to this many kilobytes per second, for this many
    /// milliseconds.
    Throttle(usize, u64, u64),
    /// The object store is killed, and restarted after this many milliseconds.
    RestartS3(u64),
    /// The object store answers every write of every worker with this status, for this many
    /// milliseconds.
    StorageOutage(u16, u64),
}

/// A worker's lease in all schedules.
pub(super) const LEASE_SECONDS: u64 = 2;

/// Kinds of invalid bodies in [`Fault::Poison`].
pub(super) const POISONS: u8 = 4;

impl Fault {
    /// The fault's kind, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(Process::Api(_), _) => "API killed",
            Self::Kill(Process::Worker(_), _) => "worker killed",
            Self::Stop(..) => "worker stopped (SIGTERM)",
            Self::Freeze(Process::Api(_), _) => "API frozen",
            Self::Freeze(Process::Worker(_), _) => "worker frozen past its lease",
            Self::Network(_, Service::Mongodb, ..) => "network to MongoDB",
            Self::Network(_, Service::Rabbitmq, ..) => "network to RabbitMQ",
            Self::Network(_, Service::S3, ..) => "network to S3",
            Self::LoseConfirms(..) => "confirms lost",
            Self::RestartBroker(_) => "RabbitMQ restarted",
            Self::Purge(_) => "queue purged",
            Self::DeleteQueue(_) => "queue deleted",
            Self::Duplicates(_) => "duplicate messages",
            Self::Poison(..) => "message that names no job",
            Self::StepDown => "primary stepped down",
            Self::RestartMongod(_) => "MongoDB restarted",
            Self::S3Refuses(..) => "S3 answered 403, 500 or 503",
            Self::LoseReplies(..) => "replies of S3 lost",
            Self::Throttle(..) => "S3 slow",
            Self::RestartS3(_) => "S3 restarted",
            Self::StorageOutage(..) => "outage of S3",
        }
    }

    /// A fault of one program, connection or message.
    pub(super) fn small(random: &mut Rng) -> Self {
        let api = random.usize(0..APIS);
        let worker = random.usize(0..WORKERS);
        match random.u32(0..100) {
            0..7 => Self::Kill(Process::Api(api), random.u64(100..1_500)),
            7..22 => Self::Kill(Process::Worker(worker), random.u64(100..2_000)),
            22..29 => Self::Stop(worker, random.u64(0..1_000)),
            29..32 => Self::Freeze(Process::Api(api), random.u64(500..3_000)),
            32..41 => Self::Freeze(Process::Worker(worker), LEASE_SECONDS * 1_000 + random.u64(300..2_000)),
            41..61 => Self::network(random),
            61..65 => Self::LoseConfirms(api, random.usize(1..4)),
            65..69 => Self::Purge(random.bool()),
            69..75 => Self::Duplicates(random.usize(1..11)),
            75..81 => Self::Poison(random.u8(0..POISONS), random.u64(..)),
            81..88 => {
                let status = random.choice([403, 500, 503]).unwrap_or(500);
                Self::S3Refuses(worker, status, random.usize(1..9))
            }
            88..96 => Self::LoseReplies(worker, random.bool(), random.usize(1..4)),
            _ => Self::Throttle(worker, random.u64(100..1_000), random.u64(500..3_000)),
        }
    }

    /// A fault of a server that all programs use.
    pub(super) fn big(random: &mut Rng) -> Self {
        match random.u32(0..12) {
            0..2 => Self::RestartBroker(random.bool()),
            2..4 => Self::DeleteQueue(random.u64(0..1_500)),
            4..6 => Self::StepDown,
            6..8 => Self::RestartMongod(random.bool()),
            8..10 => Self::RestartS3(random.u64(0..1_500)),
            _ => {
                let status = random.choice([403, 500, 503]).unwrap_or(500);
                Self::StorageOutage(status, random.u64(2_000..10_000))
            }
        }
    }

    fn network(random: &mut Rng) -> Self {
        let is_api = random.u32(0..3) == 0;
        let process = if is_api {
            Process::Api(random.usize(0..APIS))
        } else {
            Process::Worker(random.usize(0..WORKERS))
        };
        let service = match random.u32(0..10) {
            0..4 => Service::Mongodb,
            // An API only signs links and does not use S3 otherwise.
            4..8 => Service::Rabbitmq,
            _ if is_api => Service::Rabbitmq,
            _ => Service::S3,
        };
        let how = match random.u32(0..6) {
            0 => Network::Cut,
            1 => Network::Drop,
            2 => Network::HoldRequests,
            3 => Network::HoldAnswers,
            4 => Network::Silence,
            _ => Network::Delay(random.u64(20..300)),
        };
        Self::Network(process, service, how, random.u64(200..3_000))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self:?}", self.kind())
    }
}
