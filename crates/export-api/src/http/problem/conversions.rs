//! Conversions of errors into problems, so that handlers use `?`. Each conversion logs the cause
//! once.

use std::sync::Arc;

use export_core::causes;
use export_s3::S3Error;
use export_store::{AuditError, StoreError};
use tracing::error;

use super::Problem;
use crate::jobs::accepting::AcceptError;
use crate::jobs::link_cache::NotSigned;

impl From<&StoreError> for Problem {
    /// A stored document that cannot be read, a rejected write and a bug are defects (500): trying
    /// again does not help. Every other failure is temporary (503).
    fn from(failure: &StoreError) -> Self {
        match failure {
            StoreError::Corrupt(_) | StoreError::Rejected(_) | StoreError::Bug(_) => {
                error!(error = %causes(failure), "request failed: permanent error of the store");
                Self::internal()
            }
            _ => Self::unavailable(failure),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(failure: StoreError) -> Self {
        Self::from(&failure)
    }
}

impl From<Arc<StoreError>> for Problem {
    fn from(failure: Arc<StoreError>) -> Self {
        Self::from(&*failure)
    }
}

impl From<AcceptError> for Problem {
    fn from(failure: AcceptError) -> Self {
        match failure {
            AcceptError::Store(error) => error.into(),
            AcceptError::UnexpectedKey => {
                error!(error = %failure, "request failed: permanent error");
                Self::internal()
            }
            AcceptError::Overdue | AcceptError::Stopped => Self::unavailable(&failure),
        }
    }
}

impl From<S3Error> for Problem {
    fn from(failure: S3Error) -> Self {
        Self::from(&failure)
    }
}

impl From<Arc<S3Error>> for Problem {
    fn from(failure: Arc<S3Error>) -> Self {
        Self::from(&*failure)
    }
}

impl From<&S3Error> for Problem {
    fn from(failure: &S3Error) -> Self {
        if matches!(failure, S3Error::NotAName) {
            error!(error = %causes(failure), "request failed: permanent error of a result");
            return Self::internal();
        }
        Self::unavailable(failure)
    }
}

impl From<NotSigned> for Problem {
    fn from(failure: NotSigned) -> Self {
        match failure {
            NotSigned::Failed(error) => error.into(),
            NotSigned::NoTurn(problem) => problem,
        }
    }
}

impl From<AuditError> for Problem {
    fn from(failure: AuditError) -> Self {
        Self::unavailable(&failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permanent_errors_are_500_and_temporary_ones_503() {
        let corrupt = || StoreError::Corrupt("hunter2".to_owned());
        for permanent in [corrupt(), StoreError::Rejected("hunter2".to_owned()), StoreError::Bug("hunter2")] {
            let problem = Problem::from(permanent);
            assert_eq!((problem.status().as_u16(), problem.retry_after_seconds()), (500, None));
            assert!(!problem.body("id").contains("hunter2"), "{problem:?}");
        }
        let timed_out = StoreError::TimedOut { operation: "hunter2", seconds: 10 };
        for temporary in [timed_out, StoreError::Contended("hunter2")] {
            let problem = Problem::from(Arc::new(temporary));
            assert_eq!((problem.status().as_u16(), problem.retry_after_seconds()), (503, Some(5)));
            assert!(!problem.body("id").contains("hunter2"), "{problem:?}");
        }
        for (failure, status) in
            [(AcceptError::Overdue, 503), (AcceptError::Stopped, 503), (AcceptError::UnexpectedKey, 500)]
        {
            assert_eq!(Problem::from(failure).status().as_u16(), status);
        }
        assert_eq!(Problem::from(AuditError::NotWritten(Arc::new(corrupt()))).status().as_u16(), 503);
    }
}
