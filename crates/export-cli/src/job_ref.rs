//! How a command names a job: by its id, by a part of it, or `@last`.
//!
//! Ids begin with the time, so ids of the same minute begin alike, and end with random digits.
//! Therefore the short form of an id is its end, and both ends are accepted.

use std::fmt;
use std::str::FromStr;

use export_core::JobId;
use serde::Deserialize;

use crate::client::{Call, Client, ClientError, JobAnswer};
use crate::failure::UsageError;
use crate::pages::Pages;

/// Digits of a short id, of its random end: two of a thousand jobs are alike once in ten thousand
/// times.
const SHORT_DIGITS: usize = 8;
/// Fewest digits of an id that are accepted.
const MIN_DIGITS: usize = 4;
/// Number of newest jobs among which a part of an id is looked for: ten pages.
pub(crate) const MAX_SEARCHED: u32 = 1_000;
/// Most candidates that an error lists.
const MAX_SHOWN: usize = 5;

/// A job as a command names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobRef {
    Id(JobId),
    /// The newest job that the caller has created.
    Last,
    /// Hexadecimal digits at the beginning or the end of the id, without hyphens.
    Part(String),
}

/// Not a name of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an export: expected an id as `exports list` prints it (the whole id, or at least {MIN_DIGITS} digits of its beginning or \
     end), or @last for your newest export"
)]
pub(crate) struct NotAJobRef;

impl FromStr for JobRef {
    type Err = NotAJobRef;

    fn from_str(text: &str) -> Result<Self, NotAJobRef> {
        let text = text.trim();
        if text == "@last" {
            return Ok(Self::Last);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let digits: String = text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
        let is_part =
            (MIN_DIGITS..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_part { Ok(Self::Part(digits)) } else { Err(NotAJobRef) }
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Last => f.write_str("@last"),
            Self::Part(digits) => f.write_str(digits),
        }
    }
}

/// The short form of an id, as lists print it.
pub(crate) fn short(id: JobId) -> String {
    let text = id.to_string();
    text[text.len() - SHORT_DIGITS..].to_owned()
}

/// The id of the job. A note says which one it is, unless the whole id was given.
pub(crate) async fn resolve(client: &Client, job: &JobRef) -> anyhow::Result<JobId> {
    let id = resolve_all(client, std::slice::from_ref(job)).await?;
    Ok(id[0])
}

/// The ids of the jobs, in their order.
pub(crate) async fn resolve_all(client: &Client, jobs: &[JobRef]) -> anyhow::Result<Vec<JobId>> {
    let mut newest = None;
    let mut ids = Vec::with_capacity(jobs.len());
    for job in jobs {
        let id = match job {
            JobRef::Id(id) => *id,
            JobRef::Last => last(client).await?,
            JobRef::Part(digits) => {
                let searched = match newest.take() {
                    Some(searched) => searched,
                    None => newest_ids(client, Vec::new(), MAX_SEARCHED).await?,
                };
                let found = find(digits, &searched);
                newest = Some(searched);
                found?
            }
        };
        if !matches!(job, JobRef::Id(_)) {
            client.console.note(&format!("{job} is {id}"));
        }
        ids.push(id);
    }
    Ok(ids)
}

async fn last(client: &Client) -> anyhow::Result<JobId> {
    let newest = newest_ids(client, vec![("mine", "true".to_owned())], 1).await?;
    newest.first().copied().ok_or_else(|| {
        let text = "@last: you have created no export; `exports list` shows those that you may see";
        ClientError::NoSuchExport(text.to_owned()).into()
    })
}

async fn newest_ids(
    client: &Client,
    query: Vec<(&'static str, String)>,
    limit: u32,
) -> anyhow::Result<Vec<JobId>> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "_id")]
        id: JobId,
    }
    let mut pages = Pages::new(&["export"], query, Some(limit));
    let mut ids = Vec::new();
    while let Some(page) = pages.next(client, |page| page.exports).await? {
        for json in page {
            ids.push(Listed::deserialize(json)?.id);
        }
    }
    Ok(ids)
}

/// The only id that begins or ends with these digits.
fn find(digits: &str, ids: &[JobId]) -> anyhow::Result<JobId> {
    let is_found = |id: &&JobId| {
        let text = id.to_string().replace('-', "");
        text.ends_with(digits) || text.starts_with(digits)
    };
    let found: Vec<JobId> = ids.iter().filter(is_found).copied().collect();
    match &found[..] {
        [id] => Ok(*id),
        [] => {
            let text = format!(
                "{digits}: none of the newest {} exports has an id that begins or ends so; give the whole id",
                ids.len()
            );
            Err(ClientError::NoSuchExport(text).into())
        }
        several => {
            let mut shown: Vec<String> = several.iter().take(MAX_SHOWN).map(JobId::to_string).collect();
            if several.len() > MAX_SHOWN {
                shown.push(format!("{} more", several.len() - MAX_SHOWN));
            }
            let text = format!(
                "{digits}: several exports have an id that begins or ends so; give more digits of its end:\n  {}",
                shown.join("\n  ")
            );
            Err(UsageError(text).into())
        }
    }
}

/// The job with this id.
pub(crate) async fn job_of(client: &Client, id: JobId) -> Result<JobAnswer, ClientError> {
    JobAnswer::of(&client.call(&Call::get(&["export", &id.to_string()])).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        text.parse().expect("an id")
    }

    #[test]
    fn ids_parts_and_last_name_a_job() {
        let whole = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
        assert_eq!(whole.parse(), Ok(JobRef::Id(id(whole))));
        assert_eq!("@last".parse(), Ok(JobRef::Last));
        assert_eq!("456789AB".parse(), Ok(JobRef::Part("456789ab".to_owned())));
        assert_eq!("01983c5e-7a".parse(), Ok(JobRef::Part("01983c5e7a".to_owned())));
        assert_eq!(short(id(whole)).parse(), Ok(JobRef::Part("456789ab".to_owned())));
        for wrong in ["", "89a", "@first", "last", "vehicle_001", "----", &"0".repeat(33)] {
            assert_eq!(wrong.parse::<JobRef>(), Err(NotAJobRef), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_an_id_must_be_of_one_job() {
        let ids = [
            "01983c5e-7a01-7c3a-9d5e-0123456789ab",
            "01983c5e-7a01-7c3a-9d5e-1111456789ac",
            "01983c5e-7b01-7c3a-9d5e-2222456789ab",
        ]
        .map(id);
        assert_eq!(find("789ac", &ids).expect("the second"), ids[1]);
        assert_eq!(find("01983c5e7b", &ids).expect("the third"), ids[2], "a beginning");
        let ambiguous = find("456789ab", &ids).expect_err("two").to_string();
        assert!(
            ambiguous.contains(&ids[0].to_string()) && ambiguous.contains(&ids[2].to_string()),
            "{ambiguous}"
        );
        assert!(!ambiguous.contains(&ids[1].to_string()), "{ambiguous}");
        assert!(find("01983c5e7a01", &ids).is_err(), "ids of the same moment begin alike");
        let unknown = find("ffff", &ids).expect_err("none").to_string();
        assert!(unknown.contains("none of the newest 3 exports"), "{unknown}");
    }
}
