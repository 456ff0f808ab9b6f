//! Rules of results applied to a [`ResultRecord`] in memory; `None` is a result that does not
//! exist.

use export_core::result::ResultState;
use export_core::rules::result::{ResultCondition as C, ResultEffect as E, ResultRule};

/// The part of a result that rules look at and change. `N` is the type of owners and addresses:
/// texts in the database, small numbers in a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResultRecord<N> {
    /// State of the result.
    pub state: ResultState,
    /// Epoch of the claim that began it.
    pub epoch: i64,
    /// The worker that writes it.
    pub owner: Option<N>,
    /// When it was begun, in milliseconds.
    pub begun_at_ms: i64,
    /// When the source was last found to be as it was then, in milliseconds.
    pub checked_at_ms: i64,
    /// Its address, while FINISHED.
    pub uri: Option<N>,
    /// When its objects may be deleted, in milliseconds; `None`: never, or not finished yet.
    pub expires_at_ms: Option<i64>,
    /// Whether it is the current result of its share key.
    pub is_current: bool,
}

/// The values that the caller of a transition provides. A rule reads only the values that it
/// mentions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResultInput<N> {
    /// The time, in milliseconds.
    pub now_ms: i64,
    /// The epoch of the caller's claim, or of the result that the caller has seen.
    pub epoch: i64,
    /// The caller's name.
    pub owner: N,
    /// The address of the objects that the caller has written.
    pub uri: N,
    /// How long results are kept, in milliseconds.
    pub retention_ms: i64,
    /// The shortest remaining lifetime of a result that may be shared, in milliseconds.
    pub least_lifetime_ms: i64,
    /// When the caller's job was created, in milliseconds, if it asks for a fresh result.
    pub fresh_since_ms: Option<i64>,
    /// When the caller's job was created, in milliseconds.
    pub created_at_ms: i64,
    /// When the caller began to look at the source, in milliseconds.
    pub looked_at_ms: i64,
    /// Whether the caller's job has a share key.
    pub has_share_key: bool,
}

/// A rule of results, applied in memory.
pub trait ApplyToResult {
    /// Whether the change may happen to this result.
    fn holds<N: PartialEq>(&self, stored: Option<&ResultRecord<N>>, input: &ResultInput<N>) -> bool;

    /// Makes the change, if it may happen; returns whether it did.
    fn apply<N: Clone + PartialEq>(
        &self,
        stored: &mut Option<ResultRecord<N>>,
        input: &ResultInput<N>,
    ) -> bool;
}

impl ApplyToResult for ResultRule {
    fn holds<N: PartialEq>(&self, stored: Option<&ResultRecord<N>>, input: &ResultInput<N>) -> bool {
        self.when.iter().all(|condition| match stored {
            Some(result) => is_true(*condition, result, input),
            None => matches!(condition, C::NotFinished | C::EarlierClaim),
        })
    }

    fn apply<N: Clone + PartialEq>(
        &self,
        stored: &mut Option<ResultRecord<N>>,
        input: &ResultInput<N>,
    ) -> bool {
        let holds = self.holds(stored.as_ref(), input);
        if holds {
            for effect in self.then {
                change(*effect, stored, input);
            }
        }
        holds
    }
}

fn is_true<N: PartialEq>(condition: C, result: &ResultRecord<N>, input: &ResultInput<N>) -> bool {
    match condition {
        C::In(state) => result.state == state,
        C::NotFinished => result.state != ResultState::Finished,
        C::EarlierClaim => result.epoch < input.epoch,
        C::SameEpoch => result.epoch == input.epoch,
        C::SameOwner => result.owner.as_ref() == Some(&input.owner),
        C::IsCurrent => result.is_current,
        C::HasExpired => result.expires_at_ms.is_some_and(|expires_ms| expires_ms <= input.now_ms),
        C::LastsLongEnough => {
            let needed_until_ms = input.now_ms + input.least_lifetime_ms;
            result.expires_at_ms.is_none_or(|expires_ms| expires_ms > needed_until_ms)
        }
        C::FreshEnough => input.fresh_since_ms.is_none_or(|since_ms| result.begun_at_ms > since_ms),
        C::CheckedSince => result.checked_at_ms > input.created_at_ms,
    }
}

fn change<N: Clone>(effect: E, stored: &mut Option<ResultRecord<N>>, input: &ResultInput<N>) {
    if effect == E::Remove {
        *stored = None;
        return;
    }
    // `Begin` is the only rule that a missing result fits; it sets all fields that are not empty.
    let result = stored.get_or_insert_with(|| ResultRecord {
        state: ResultState::Writing,
        epoch: input.epoch,
        owner: None,
        begun_at_ms: 0,
        checked_at_ms: 0,
        uri: None,
        expires_at_ms: None,
        is_current: false,
    });
    match effect {
        E::Enter(state) => result.state = state,
        E::SetEpoch => result.epoch = input.epoch,
        E::TakeOwnership => result.owner = Some(input.owner.clone()),
        E::DropOwnership => result.owner = None,
        E::StampBegun => {
            result.begun_at_ms = input.now_ms;
            result.checked_at_ms = input.now_ms;
        }
        E::StampChecked => result.checked_at_ms = result.checked_at_ms.max(input.looked_at_ms),
        E::SetContent => result.uri = Some(input.uri.clone()),
        E::DropContent => result.uri = None,
        E::SetLifetime => result.expires_at_ms = Some(input.now_ms + input.retention_ms),
        E::DropLifetime => result.expires_at_ms = None,
        E::MakeCurrent => result.is_current = input.has_share_key,
        E::DropCurrent => result.is_current = false,
        E::Remove => {}
    }
}

#[cfg(test)]
#[path = "result_tests.rs"]
mod tests;
