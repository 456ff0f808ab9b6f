//! Which servers of a replica set the vehicles are read from.

use std::str::FromStr;
use std::time::Duration;

use mongodb::options::{ReadPreference, ReadPreferenceOptions, SelectionCriteria};

/// How far behind the primary a secondary may be that is still read: the least that MongoDB allows is 90 s.
const MAX_STALENESS: Duration = Duration::from_mins(2);

/// Which servers are read. Others than the primary lag behind it, by two minutes at most: what was logged last may be missing from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary alone.
    #[default]
    Primary,
    /// The primary; a secondary while there is none.
    PrimaryPreferred,
    /// A secondary; while there is none, nothing is read.
    Secondary,
    /// A secondary; the primary while there is none.
    SecondaryPreferred,
    /// Whichever answers soonest.
    Nearest,
}

/// In MongoDB's own words.
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

/// MongoDB has no such mode of choosing servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MongoDB has no such read preference")]
pub struct UnknownMode;

impl ReadFrom {
    /// In the driver's words.
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
            let told = format!("{:?}", read_from.criteria());
            assert_eq!(told.contains("120s"), read_from != ReadFrom::Primary, "{told}");
        }
        assert_eq!("Secondary".parse::<ReadFrom>(), Err(UnknownMode));
    }
}
