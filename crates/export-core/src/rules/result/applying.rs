//! Rules applied to a [`ResultRecord`] in memory; `None` is a result that does not exist.

use super::{ResultCondition as C, ResultEffect as E, ResultInput, ResultRecord, ResultRule};
use crate::result::ResultState;

impl ResultRule {
    /// Whether the change may happen to this result.
    pub fn holds<N: PartialEq>(&self, stored: Option<&ResultRecord<N>>, input: &ResultInput<N>) -> bool {
        self.when.iter().all(|condition| match stored {
            Some(result) => is_true(*condition, result, input),
            None => matches!(condition, C::NotFinished | C::EarlierClaim),
        })
    }

    /// Makes the change, if it may happen; returns whether it did.
    pub fn apply<N: Clone + PartialEq>(
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
        uri: None,
        expires_at_ms: None,
        is_current: false,
    });
    match effect {
        E::Enter(state) => result.state = state,
        E::SetEpoch => result.epoch = input.epoch,
        E::TakeOwnership => result.owner = Some(input.owner.clone()),
        E::DropOwnership => result.owner = None,
        E::StampBegun => result.begun_at_ms = input.now_ms,
        E::SetContent => result.uri = Some(input.uri.clone()),
        E::DropContent => result.uri = None,
        E::SetLifetime => result.expires_at_ms = Some(input.now_ms + input.retention_ms),
        E::DropLifetime => result.expires_at_ms = None,
        E::MakeCurrent => result.is_current = input.has_share_key,
        E::DropCurrent => result.is_current = false,
        E::Remove => {}
    }
}
