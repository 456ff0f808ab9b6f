//! The error codes of the MongoDB server that this project reacts to, and how to find them in the
//! driver's errors.

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::{DriverError, StoreError};

/// A value cannot be used; also the answer to a hint at an index that does not exist.
pub const BAD_VALUE: i32 = 2;
/// The user to be changed does not exist.
pub const USER_NOT_FOUND: i32 = 11;
/// The user may not run this command.
pub const UNAUTHORIZED: i32 = 13;
/// The index to be dropped does not exist.
pub const INDEX_NOT_FOUND: i32 = 27;
/// The role to be changed does not exist.
pub const ROLE_NOT_FOUND: i32 = 31;
/// The collection to be created exists already.
pub const NAMESPACE_EXISTS: i32 = 48;
/// The server stopped an operation at its `maxTimeMS`.
pub const MAX_TIME_EXPIRED: i32 = 50;
/// An index of this name and these keys exists with other options.
pub const INDEX_OPTIONS_CONFLICT: i32 = 85;
/// This kind of server does not know the command.
pub const COMMAND_NOT_FOUND: i32 = 59;
/// The server stopped an operation at another time limit.
pub const EXCEEDED_TIME_LIMIT: i32 = 262;
/// A unique index has this value already.
pub const DUPLICATE_KEY: i32 = 11_000;
/// The role to be created exists already.
pub const ROLE_EXISTS: i32 = 51_002;
/// The user to be created exists already.
pub const USER_EXISTS: i32 = 51_003;

/// The primary stepped down or shuts down. Whether it made the change is unknown.
pub const STEPPED_DOWN: [i32; 6] = [91, 189, 10_107, 11_600, 11_602, 13_435];

/// The server stopped an operation because it took too long.
pub const OUT_OF_TIME: [i32; 2] = [MAX_TIME_EXPIRED, EXCEEDED_TIME_LIMIT];

/// The server refuses a command to this user, or does not know it: trying again is useless.
pub const REFUSED: [i32; 2] = [UNAUTHORIZED, COMMAND_NOT_FOUND];

/// The server has no primary, shuts down, or cannot reach others, or refuses the user.
pub const OUTAGE: [i32; 16] = [
    6, // HostUnreachable
    7, // HostNotFound
    UNAUTHORIZED,
    18,     // AuthenticationFailed
    89,     // NetworkTimeout
    91,     // ShutdownInProgress
    133,    // FailedToSatisfyReadPreference
    134,    // ReadConcernMajorityNotAvailableYet
    189,    // PrimarySteppedDown
    9_001,  // SocketException
    10_058, // NotWritablePrimary, of old servers
    10_107, // NotWritablePrimary
    11_600, // InterruptedAtShutdown
    11_602, // InterruptedDueToReplStateChange
    13_435, // NotPrimaryNoSecondaryOk
    13_436, // NotPrimaryOrSecondary
];

/// A read failed because a connection, a cursor or a server was lost: a new read may succeed,
/// possibly on another server.
///
/// 175 (`QueryPlanKilled`, the collection was dropped) is not in the list: a retry would read an
/// empty collection and take it for a complete one.
pub const RESUMABLE: [i32; 18] = [
    6,                   // HostUnreachable
    7,                   // HostNotFound
    43,                  // CursorNotFound: it was idle for too long, or was killed
    MAX_TIME_EXPIRED,    // the source was too slow, perhaps for a moment; the retry budget decides
    89,                  // NetworkTimeout
    91,                  // ShutdownInProgress
    134,                 // ReadConcernMajorityNotAvailableYet
    189,                 // PrimarySteppedDown
    237,                 // CursorKilled
    EXCEEDED_TIME_LIMIT, // as for MaxTimeMSExpired
    9_001,               // SocketException
    10_058,              // NotWritablePrimary, of old servers
    10_107,              // NotWritablePrimary
    11_600,              // InterruptedAtShutdown
    11_601,              // Interrupted: the operation or its session was killed
    11_602,              // InterruptedDueToReplStateChange
    13_435,              // NotPrimaryNoSecondaryOk
    13_436,              // NotPrimaryOrSecondary
];

/// Whether the server refused a command with this code.
pub fn has_code(error: &Error, code: i32) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == code)
}

/// The driver's error, where the failure is one.
pub fn driver_error(error: &StoreError) -> Option<&Error> {
    let StoreError::Driver { source, .. } = error else { return None };
    source.downcast_ref().map(|DriverError(error)| error)
}

/// Whether the server does not know the user, or the password is another one.
pub fn is_authentication_failure(error: &StoreError) -> bool {
    driver_error(error).is_some_and(|error| matches!(&*error.kind, ErrorKind::Authentication { .. }))
}

/// Whether the server cannot be used at all, so that an operator or the server itself has to repair
/// it: it is not reachable, does not answer, has no primary, or refuses the user.
///
/// An operation that the server stopped because it took too long is no outage: it may be this
/// operation that takes too long.
pub fn is_outage(error: &StoreError) -> bool {
    match error {
        StoreError::TimedOut { .. } | StoreError::NoConnection { .. } => true,
        StoreError::Driver { .. } => driver_error(error).is_some_and(|error| match &*error.kind {
            ErrorKind::Command(command) => OUTAGE.contains(&command.code),
            ErrorKind::Authentication { .. }
            | ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::ConnectionPoolCleared { .. } => true,
            _ => false,
        }),
        _ => false,
    }
}

/// The code with which the server refused a command; `None` for every other failure.
pub fn code_of(error: &StoreError) -> Option<i32> {
    match driver_error(error)?.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Whether a command or a single write failed because a unique index has the value already.
pub fn is_duplicate(error: &StoreError) -> bool {
    driver_error(error).is_some_and(|error| match &*error.kind {
        ErrorKind::Command(command) => command.code == DUPLICATE_KEY,
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == DUPLICATE_KEY,
        _ => false,
    })
}

/// Whether an insert of many failed only for documents that exist already: all others were
/// inserted.
pub fn are_all_duplicates(error: &Error) -> bool {
    let ErrorKind::InsertMany(failure) = &*error.kind else { return false };
    let errors = failure.write_errors.as_deref().unwrap_or_default();
    failure.write_concern_error.is_none()
        && !errors.is_empty()
        && errors.iter().all(|error| error.code == DUPLICATE_KEY)
}
