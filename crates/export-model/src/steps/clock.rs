//! Time. The model has no clock: a time that will pass may pass at any moment.

use export_core::job::JobState;
use export_core::rules::Transition;

use crate::action::Action;
use crate::protocol::{EARLIER_MS, NOW_MS, Protocol, input};
use crate::world::World;

pub(super) fn enabled(world: &World, actions: &mut Vec<Action>) {
    let Some(job) = &world.job else { return };
    match job.state {
        JobState::NotStarted if job.run_after_ms > NOW_MS => actions.push(Action::BecomeDue),
        JobState::Started if job.lease_until_ms.is_some_and(|until_ms| until_ms > NOW_MS) => {
            if !world.is_held() {
                actions.push(Action::LeaseEnds);
            } else if world.faults_left > 0 {
                actions.push(Action::LeaseEndsEarly);
            }
        }
        JobState::Finished => actions.push(Action::Expire),
        _ => {}
    }
    if job.state.is_active() && job.outage_since_ms == Some(NOW_MS) {
        actions.push(Action::PatienceEnds);
    }
}

pub(super) fn take(protocol: &Protocol, world: &mut World, action: Action) -> bool {
    let Some(job) = &mut world.job else { return false };
    match action {
        Action::PatienceEnds => {
            job.outage_since_ms = Some(EARLIER_MS);
            world.seen.is_patience_over = true;
        }
        Action::BecomeDue => job.run_after_ms = NOW_MS,
        Action::LeaseEnds | Action::LeaseEndsEarly => job.lease_until_ms = Some(EARLIER_MS),
        Action::Expire => {
            job.expires_at_ms = Some(NOW_MS);
            protocol.apply(Transition::Expire, job, &input(0, 0, 0));
        }
        _ => return false,
    }
    true
}
