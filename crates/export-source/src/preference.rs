//! The read preference for the source: which servers of its replica set are read.

use std::str::FromStr;
use std::time::Duration;

use mongodb::options::{ReadPreference, ReadPreferenceOptions, SelectionCriteria};

/// Secondaries that lag further behind the primary are not read. MongoDB allows no less than 90 s.
const MAX_STALENESS: Duration = Duration::from_mins(2);

/// The read preference. Secondaries may lag behind the primary by up to two minutes, so the newest
/// documents may be missing there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// Only the primary.
    #[default]
    Primary,
    /// The primary, or a secondary while there is no primary.
    PrimaryPreferred,
    /// Only secondaries: reads fail while there is none.
    Secondary,
    /// A secondary, or the primary while there is no secondary.
    SecondaryPreferred,
    /// The server with the lowest latency.
    Nearest,
}

/// Parses MongoDB's names of read preferences.
impl FromStr for ReadFrom {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Ok(match text {
            "primary" => Self::Primary,
            "primaryPreferred" => Self::PrimaryPreferred,
            "secondary" => Self::Secondary,
            "secondaryPreferred" => Self::SecondaryPreferred,
            "nearest" => Self::Nearest,
            _ => return Err(UnknownMode),
        })
    }
}

/// The text is no read preference of MongoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown read preference")]
pub struct UnknownMode;

impl ReadFrom {
    /// Whether only the primary is read.
    pub(crate) fn is_primary(self) -> bool {
        self == Self::Primary
    }

    /// The read preference as the driver's type.
    pub(crate) fn criteria(self) -> SelectionCriteria {
        let options = || ReadPreferenceOptions::builder().max_staleness(MAX_STALENESS).build();
        SelectionCriteria::ReadPreference(match self {
            Self::Primary => ReadPreference::Primary,
            Self::PrimaryPreferred => ReadPreference::PrimaryPreferred { options: Some(options()) },
            Self::Secondary => ReadPreference::Secondary { options: Some(options()) },
            Self::SecondaryPreferred => ReadPreference::SecondaryPreferred { options: Some(options()) },
            Self::Nearest => ReadPreference::Nearest { options: Some(options()) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_than_the_primary_may_lag_by_two_minutes() {
        for (text, read_from) in [
            ("primary", ReadFrom::Primary),
            ("primaryPreferred", ReadFrom::PrimaryPreferred),
            ("secondary", ReadFrom::Secondary),
            ("secondaryPreferred", ReadFrom::SecondaryPreferred),
            ("nearest", ReadFrom::Nearest),
        ] {
            assert_eq!(text.parse(), Ok(read_from));
            let shown = format!("{:?}", read_from.criteria());
            assert_eq!(shown.contains("120s"), read_from != ReadFrom::Primary, "{shown}");
        }
        assert_eq!("Secondary".parse::<ReadFrom>(), Err(UnknownMode));
    }
}
