//! Workers: claim → look → begin → look again → write → finish → commit, and every way off that
//! path.

use crate::applied::{ApplyToResult, ResultInput};
use export_core::job::JobState;
use export_core::result::{ResultState, is_void};
use export_core::rules::Transition;
use export_core::rules::result::ResultTransition;

use super::{change, input, result_input, shareable, sharing};
use crate::protocol::EARLIER_MS;
use crate::results::action::Action;
use crate::results::world::{Claimed, Found, Sharing, Step, Worker, World, small};
use crate::results::wrong::Wrong;
use crate::results::{Departure, Results};

pub(super) fn enabled(world: &World, actions: &mut Vec<Action>) {
    let mut is_idle_seen = false;
    for (index, worker) in world.workers.iter().enumerate() {
        if worker.step == Step::Idle {
            // Idle workers do not differ.
            if !std::mem::replace(&mut is_idle_seen, true) {
                claims(world, index, actions);
            }
            continue;
        }
        actions.push(Action::Work(index));
        let job = world.jobs[worker.claim.job].as_ref();
        let is_cancelled = job.is_some_and(|job| job.cancel_requested);
        // Workers send heartbeats during all steps; these two would otherwise take long, or be
        // repeated for ever.
        let is_long = matches!(worker.step, Step::Write | Step::FindHolder | Step::Compare(..));
        if is_long && (is_cancelled || !world.is_live(worker.claim)) {
            actions.push(Action::Heartbeat(index));
        }
        if world.faults_left > 0 {
            actions.push(Action::Crash(index));
            match worker.step {
                Step::Write => actions.push(Action::ExportFails(index)),
                Step::Finish => actions.extend([Action::FinishUnanswered(index), Action::FinishLost(index)]),
                Step::CheckHolder(_) => actions.push(Action::StaleRead(index)),
                _ => {}
            }
        }
    }
}

fn claims(world: &World, index: usize, actions: &mut Vec<Action>) {
    let is_published = |job: &Option<crate::applied::Record<u8>>| {
        job.as_ref().is_some_and(|job| job.state == JobState::NotStarted && job.published_at_ms.is_some())
    };
    let published = world.jobs.iter().enumerate().filter(|(_, job)| is_published(job));
    actions.extend(published.map(|(job, _)| Action::Claim(index, job)));
}

pub(super) fn take(results: &Results, world: &mut World, action: Action) -> bool {
    match action {
        Action::Claim(index, job) => claim(results, world, index, job),
        Action::Work(index) => {
            let Worker { claim, outdated, .. } = world.workers[index];
            let next = work(results, world, index);
            let could_share = || {
                let found = shareable(results, world, claim.job);
                world.is_live(claim) && found.is_some_and(|found| outdated != Some(found.uri))
            };
            if next == Step::Write && could_share() {
                world.note(Wrong::ReadTwice);
            }
            go(world, index, next);
        }
        Action::Heartbeat(index) => {
            let next = if world.is_live(world.workers[index].claim) { Step::Cancel } else { Step::Idle };
            go(world, index, next);
        }
        Action::Crash(index) => go(world, index, Step::Idle),
        Action::ExportFails(index) => go(world, index, Step::Release),
        Action::FinishUnanswered(index) => {
            finish(results, world, index);
            go(world, index, Step::ReadBack);
        }
        Action::FinishLost(index) => go(world, index, Step::ReadBack),
        Action::StaleRead(index) => {
            let Step::CheckHolder(holder) = world.workers[index].step else { return false };
            let earlier = Some((JobState::NotStarted, i64::from(holder.epoch) - 1));
            let is_void = is_void_by(results, holder, earlier);
            go(world, index, if is_void { Step::RemoveVoid(holder) } else { Step::Wait });
        }
        Action::LeaseEnds(job) | Action::LeaseEndsEarly(job) => {
            if let Some(job) = &mut world.jobs[job] {
                job.lease_until_ms = Some(EARLIER_MS);
            }
        }
        _ => return false,
    }
    true
}

fn go(world: &mut World, index: usize, step: Step) {
    let worker = &mut world.workers[index];
    *worker = if step == Step::Idle { Worker::IDLE } else { Worker { step, ..*worker } };
}

fn claim(results: &Results, world: &mut World, index: usize, job: usize) {
    if !change(results, world, Transition::Claim, job, &input(0, None)) {
        return;
    }
    let epoch = world.jobs[job].as_ref().map_or(0, |job| small(job.epoch));
    world.workers[index] = Worker { step: Step::CheckOwn, claim: Claimed { job, epoch }, ..Worker::IDLE };
}

/// Takes the worker's next step; returns the one after it.
fn work(results: &Results, world: &mut World, index: usize) -> Step {
    let worker = world.workers[index];
    match worker.step {
        Step::Idle => Step::Idle,
        Step::CheckOwn => check_own(results, world, worker.claim),
        Step::Look if results.departs(Departure::NoLookFirst) => Step::Begin,
        Step::Look => match sharing(results, world, worker.claim.job, worker.outdated) {
            Some(sharing) => share(world, index, sharing),
            None => Step::Begin,
        },
        Step::Compare(found, _) if found.source != world.source => {
            world.workers[index].outdated = Some(found.uri);
            Step::CheckOwn
        }
        Step::Compare(found, of) => Step::MarkChecked(found, of),
        Step::MarkChecked(found, of) => {
            mark_checked(results, world, worker, of);
            Step::Commit(found)
        }
        Step::Begin => begin(results, world, index),
        Step::FindHolder => match world.writing_other_than(worker.claim.job) {
            Some(holder) => Step::CheckHolder(holder),
            None => Step::CheckOwn,
        },
        Step::CheckHolder(holder) => {
            let job = world.jobs[holder.job].as_ref().map(|job| (job.state, job.epoch));
            if is_void_by(results, holder, job) { Step::RemoveVoid(holder) } else { Step::Wait }
        }
        Step::RemoveVoid(holder) => {
            remove(results, world, holder);
            Step::CheckOwn
        }
        Step::Wait => wait(results, world, worker.claim),
        Step::LookAgain => look_again(results, world, index),
        Step::Withdraw(sharing) => {
            remove(results, world, worker.claim);
            share(world, index, sharing)
        }
        Step::Write => {
            world.workers[index].has_written = true;
            written(results, world, index)
        }
        Step::Retire => {
            retire(results, world, worker);
            Step::Finish
        }
        Step::Finish if results.departs(Departure::CommitFirst) => Step::Commit(own_result(world, worker)),
        Step::Finish => finish(results, world, index),
        Step::ReadBack => read_back(world, worker),
        Step::Commit(found) => commit(results, world, worker.claim, found),
        Step::Release => {
            end_of_attempt(results, world, worker.claim, &[Transition::Release, Transition::Fail])
        }
        Step::Cancel => end_of_attempt(results, world, worker.claim, &[Transition::CancelRunning]),
    }
}

/// The job's own result may be finished without the job, when its worker died between the two.
fn check_own(results: &Results, world: &mut World, claim: Claimed) -> Step {
    let own = world.results[claim.job].as_ref();
    let own =
        own.filter(|own| own.state == ResultState::Finished && !results.departs(Departure::NoCheckOfOwn));
    let Some((uri, expires_at_ms)) = own.and_then(|own| Some((own.uri?, own.expires_at_ms))) else {
        return Step::Look;
    };
    let input = result_input(world, claim, 0);
    if results.result_rules.get(ResultTransition::Expire).apply(&mut world.results[claim.job], &input) {
        return Step::Look;
    }
    Step::Commit(Found { uri, expires_at_ms, source: world.read_under[claim.job] })
}

fn share(world: &mut World, index: usize, sharing: Sharing) -> Step {
    match sharing {
        Sharing::Use(found) => Step::Commit(found),
        Sharing::Compare(found, of) => {
            world.workers[index].looked_at = world.reading_time;
            Step::Compare(found, of)
        }
    }
}

fn mark_checked(results: &Results, world: &mut World, worker: Worker, of: Claimed) {
    let time = if results.departs(Departure::MarkLate) { world.reading_time } else { worker.looked_at };
    let input = ResultInput { looked_at_ms: i64::from(time), ..result_input(world, of, 0) };
    results.result_rules.get(ResultTransition::Check).apply(&mut world.results[of.job], &input);
}

fn begin(results: &Results, world: &mut World, index: usize) -> Step {
    let claim = world.workers[index].claim;
    let is_refused =
        world.writing_other_than(claim.job).is_some() && !results.departs(Departure::NoWritingIndex);
    let input = ResultInput { now_ms: i64::from(world.reading_time), ..result_input(world, claim, 0) };
    let rule = results.result_rules.get(ResultTransition::Begin);
    if is_refused || !rule.apply(&mut world.results[claim.job], &input) {
        let writes_anyway = results.departs(Departure::WriteUnbegun);
        return if writes_anyway { Step::Write } else { Step::FindHolder };
    }
    world.workers[index].begun_at = world.reading_time;
    world.read_under[claim.job] = world.source;
    Step::LookAgain
}

fn look_again(results: &Results, world: &mut World, index: usize) -> Step {
    let claim = world.workers[index].claim;
    if !results.departs(Departure::NoLookAgain)
        && let Some(sharing) = sharing(results, world, claim.job, world.workers[index].outdated)
    {
        let withdraws = !results.departs(Departure::NoWithdraw);
        return if withdraws { Step::Withdraw(sharing) } else { share(world, index, sharing) };
    }
    world.workers[index].replaces = current(world);
    if results.departs(Departure::FinishFirst) { Step::Finish } else { Step::Write }
}

fn current(world: &World) -> Option<Claimed> {
    let job = world.current()?;
    let epoch = world.results[job].as_ref().map(|result| small(result.epoch))?;
    Some(Claimed { job, epoch })
}

/// By `is_void`, or by a wrong rule of a mutant.
fn is_void_by(results: &Results, holder: Claimed, job: Option<(JobState, i64)>) -> bool {
    let epoch = i64::from(holder.epoch);
    let of_job =
        |is_so: fn(i64, JobState, i64) -> bool| job.is_none_or(|(state, at)| is_so(epoch, state, at));
    let departs = |departure| results.departs(departure);
    if departs(Departure::WorkersRemoveNothing) {
        false
    } else if departs(Departure::AlwaysVoid) {
        true
    } else if departs(Departure::VoidIgnoresState) {
        of_job(|epoch, _, at| at > epoch)
    } else if departs(Departure::VoidIgnoresEpoch) {
        of_job(|_, state, _| state != JobState::Started)
    } else if departs(Departure::VoidTrustsStaleReads) {
        of_job(|epoch, state, at| state != JobState::Started || at != epoch)
    } else {
        is_void(epoch, job)
    }
}

pub(super) fn remove(results: &Results, world: &mut World, holder: Claimed) {
    let input = result_input(world, holder, 0);
    results.result_rules.get(ResultTransition::Remove).apply(&mut world.results[holder.job], &input);
}

fn wait(results: &Results, world: &mut World, claim: Claimed) -> Step {
    if change(results, world, Transition::WaitForResult, claim.job, &input(claim.epoch, None)) {
        world.waits[claim.job] += 1;
        return Step::Idle;
    }
    after_refusal(world, claim)
}

fn written(results: &Results, world: &World, index: usize) -> Step {
    let retires = world.workers[index].replaces.is_some() || results.departs(Departure::RetireAny);
    if retires && !results.departs(Departure::NoRetire) { Step::Retire } else { Step::Finish }
}

fn retire(results: &Results, world: &mut World, worker: Worker) {
    let seen = if results.departs(Departure::RetireAny) { current(world) } else { worker.replaces };
    let Some(seen) = seen else { return };
    let (input, is) = (result_input(world, seen, 0), current(world));
    let rule = results.result_rules.get(ResultTransition::Retire);
    if rule.apply(&mut world.results[seen.job], &input) && is != worker.replaces {
        world.note(Wrong::RetiredNewer);
    }
}

/// A finished result of this worker.
fn own_result(world: &World, worker: Worker) -> Found {
    let source = world.read_under[worker.claim.job];
    Found { uri: worker.uri(), expires_at_ms: Some(crate::results::world::RETENTION_MS), source }
}

/// The index refuses a second current result; a worker then gives the job back.
fn finish(results: &Results, world: &mut World, index: usize) -> Step {
    let worker = world.workers[index];
    let has_other = world.current().is_some_and(|job| job != worker.claim.job);
    if has_other && !results.departs(Departure::NoCurrentIndex) {
        return Step::Release;
    }
    let input = result_input(world, worker.claim, worker.uri());
    let rule = results.result_rules.get(ResultTransition::Finish);
    if !rule.apply(&mut world.results[worker.claim.job], &input) {
        return Step::ReadBack;
    }
    if !worker.has_written {
        world.note(Wrong::Incomplete);
    }
    Step::Commit(own_result(world, worker))
}

/// A result that its worker's claim has finished is its own, even without the answer. Otherwise it
/// was removed, or begun anew.
fn read_back(world: &World, worker: Worker) -> Step {
    match &world.results[worker.claim.job] {
        Some(own) if own.state == ResultState::Finished && own.uri == Some(worker.uri()) => {
            let source = world.read_under[worker.claim.job];
            Step::Commit(Found { uri: worker.uri(), expires_at_ms: own.expires_at_ms, source })
        }
        Some(own) if own.state == ResultState::Writing && own.epoch == i64::from(worker.claim.epoch) => {
            Step::Finish
        }
        _ => Step::Idle,
    }
}

fn commit(results: &Results, world: &mut World, claim: Claimed, found: Found) -> Step {
    if change(results, world, Transition::Commit, claim.job, &input(claim.epoch, Some(found))) {
        return Step::Idle;
    }
    after_refusal(world, claim)
}

fn end_of_attempt(results: &Results, world: &mut World, claim: Claimed, ways: &[Transition]) -> Step {
    let input = input(claim.epoch, None);
    if ways.iter().any(|transition| change(results, world, *transition, claim.job, &input)) {
        return Step::Idle;
    }
    after_refusal(world, claim)
}

/// The job has a cancel, or is not the worker's any more. A job that is left running loses its
/// lease.
fn after_refusal(world: &World, claim: Claimed) -> Step {
    let is_cancelled = world.jobs[claim.job].as_ref().is_some_and(|job| job.cancel_requested);
    if is_cancelled && world.is_live(claim) { Step::Cancel } else { Step::Idle }
}
