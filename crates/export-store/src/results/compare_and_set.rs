//! Rules of results as compare-and-sets, like those of jobs in [`crate::jobs::compare_and_set`].

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use export_core::job::Progress;
use export_core::result::{ResultState, WrittenResult, least_lifetime};
use export_core::rules::result::{ResultCondition, ResultEffect, ResultRule};
use export_mongo::clock::{after_now, millis};

use super::content;
use crate::jobs::compare_and_set::passed;

/// The values that a caller provides. A rule reads only the values that it mentions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GivenOfResult<'a> {
    pub(crate) epoch: i64,
    pub(crate) owner: &'a str,
    pub(crate) written: Option<(&'a WrittenResult, &'a Progress)>,
    pub(crate) retention: Duration,
    /// When the caller's job was created, if the job asks for a fresh result.
    pub(crate) fresh_since: Option<DateTime>,
    /// When the caller's job was created.
    pub(crate) created_at: Option<DateTime>,
    /// When the caller began to look at the source.
    pub(crate) looked_at: Option<DateTime>,
}

/// Matches the results for which the rule holds. A result that does not exist is not matched; an
/// upsert creates it.
pub(crate) fn filter(rule: &ResultRule, given: &GivenOfResult<'_>) -> Document {
    let mut filter = Document::new();
    let mut expressions = Vec::new();
    for condition in rule.when {
        match condition {
            ResultCondition::In(state) => {
                filter.insert("state", state.as_str());
            }
            ResultCondition::NotFinished => {
                filter.insert("state", doc! { "$ne": ResultState::Finished.as_str() });
            }
            ResultCondition::EarlierClaim => {
                filter.insert("epoch", doc! { "$lt": given.epoch });
            }
            ResultCondition::SameEpoch => {
                filter.insert("epoch", given.epoch);
            }
            ResultCondition::SameOwner => {
                filter.insert("owner", given.owner);
            }
            ResultCondition::IsCurrent => {
                filter.insert("current", true);
            }
            ResultCondition::HasExpired => expressions.extend(passed("$expiresAt", "$lte")),
            ResultCondition::LastsLongEnough => expressions.push(lasts_long_enough()),
            ResultCondition::FreshEnough => {
                if let Some(since) = given.fresh_since {
                    filter.insert("begunAt", doc! { "$gt": since });
                }
            }
            ResultCondition::CheckedSince => {
                if let Some(created_at) = given.created_at {
                    filter.insert("checkedAt", doc! { "$gt": created_at });
                }
            }
        }
    }
    if !expressions.is_empty() {
        filter.insert("$expr", doc! { "$and": expressions });
    }
    filter
}

/// [`least_lifetime`] of a result that is kept for `expiresAt` − `madeAt`, as a server-side
/// expression.
fn lasts_long_enough() -> Document {
    let half_its_lifetime = doc! { "$divide": [{ "$subtract": ["$expiresAt", "$madeAt"] }, 2] };
    let least = doc! { "$min": [millis(least_lifetime(Duration::MAX)), half_its_lifetime] };
    let is_kept_for_ever = doc! { "$lte": ["$expiresAt", null] };
    doc! { "$or": [is_kept_for_ever, { "$gt": [{ "$subtract": ["$expiresAt", "$$NOW"] }, least] }] }
}

/// The fields that the rule sets, as expressions.
pub(crate) fn changes(rule: &ResultRule, given: &GivenOfResult<'_>) -> Document {
    let mut changes = Document::new();
    for effect in rule.then {
        change(&mut changes, *effect, given);
    }
    changes
}

fn change(changes: &mut Document, effect: ResultEffect, given: &GivenOfResult<'_>) {
    let mut set = |field: &str, value: Bson| {
        changes.insert(field, value);
    };
    match effect {
        ResultEffect::Enter(state) => set("state", state.as_str().into()),
        ResultEffect::SetEpoch => set("epoch", given.epoch.into()),
        ResultEffect::TakeOwnership => set("owner", doc! { "$literal": given.owner }.into()),
        ResultEffect::DropOwnership => set("owner", Bson::Null),
        ResultEffect::StampBegun => {
            set("begunAt", "$$NOW".into());
            set("checkedAt", "$$NOW".into());
        }
        ResultEffect::StampChecked => {
            set("checkedAt", doc! { "$max": ["$checkedAt", given.looked_at] }.into());
        }
        ResultEffect::SetContent => {
            for (field, value) in
                given.written.iter().flat_map(|(written, progress)| content(written, progress))
            {
                set(&field, doc! { "$literal": value }.into());
            }
        }
        // The figures are kept for people.
        ResultEffect::DropContent => {
            set("uri", Bson::Null);
            set("objects", Bson::Null);
        }
        ResultEffect::SetLifetime => {
            set("madeAt", "$$NOW".into());
            set("expiresAt", after_now(given.retention).into());
        }
        ResultEffect::DropLifetime => {
            set("madeAt", Bson::Null);
            set("expiresAt", Bson::Null);
        }
        ResultEffect::MakeCurrent => {
            set("current", doc! { "$eq": [{ "$type": "$shareKey" }, "string"] }.into());
        }
        ResultEffect::DropCurrent => set("current", false.into()),
        // A deletion is not an update.
        ResultEffect::Remove => {}
    }
}
