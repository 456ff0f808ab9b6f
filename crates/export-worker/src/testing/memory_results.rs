//! Results in memory, under the rules of [`export_core::rules::result`].

use export_model::applied::{ApplyToResult, ResultInput, ResultRecord};
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::DateTime;
use export_core::JobId;
use export_core::job::{Fence, Job, JobState, Progress};
use export_core::result::{ResultState, WrittenResult, is_void, least_lifetime};
use export_core::rules::result::ResultTransition;
use export_store::{Comparison, FinishedResult, NextStep, StoreError, Writing};

use super::memory_slots::millis;

/// Retention for the rules whose caller provides none.
const RETENTION: Duration = Duration::from_hours(24);

/// A stored result.
#[derive(Debug)]
struct StoredResult {
    share_key: Option<String>,
    record: Option<ResultRecord<String>>,
    written: Option<(WrittenResult, Progress)>,
}

/// All results, by the id of the job that writes them.
#[derive(Debug, Default)]
pub(super) struct MemoryResults(BTreeMap<JobId, StoredResult>);

/// The claim by which a result is changed, and the time.
fn input(job: &Job, fence: &Fence, now_ms: i64) -> ResultInput<String> {
    ResultInput {
        now_ms,
        epoch: fence.epoch,
        owner: fence.owner.clone(),
        uri: String::new(),
        retention_ms: millis(RETENTION),
        least_lifetime_ms: millis(least_lifetime(RETENTION)),
        fresh_since_ms: job.request.fresh.then(|| job.created_at.timestamp_millis()),
        created_at_ms: job.created_at.timestamp_millis(),
        looked_at_ms: 0,
        has_share_key: job.share_key.is_some(),
    }
}

impl MemoryResults {
    /// What the database does in several steps happens here at once, so no other worker comes
    /// between the steps.
    pub(super) fn begin(
        &mut self,
        job: &Job,
        fence: &Fence,
        now_ms: i64,
        outdated: Option<JobId>,
        state_and_epoch: impl Fn(JobId) -> Option<(JobState, i64)>,
    ) -> Result<NextStep, StoreError> {
        let input = input(job, fence, now_ms);
        let own = self.0.entry(job.id).or_insert_with(|| StoredResult {
            share_key: job.share_key.clone(),
            record: None,
            written: None,
        });
        ResultTransition::Expire.rule().apply(&mut own.record, &input);
        if own.record.as_ref().is_some_and(|record| record.state == ResultState::Finished) {
            return self.finished(job.id).map(|own| NextStep::Use(Box::new(own)));
        }
        let current = self.find(job.share_key.as_ref(), |record| record.is_current);
        if let Some((id, record)) = current.filter(|(id, _)| Some(*id) != outdated) {
            if ResultTransition::Share.rule().holds(Some(record), &input) {
                return self.finished(id).map(|current| NextStep::Use(Box::new(current)));
            }
            if ResultTransition::Compare.rule().holds(Some(record), &input) {
                let looked_at = DateTime::from_timestamp_millis(now_ms).expect("a time");
                let (epoch, result) = (record.epoch, self.finished(id)?);
                return Ok(NextStep::Compare(Box::new(Comparison { result, epoch, looked_at })));
            }
        }
        let replaces = current.map(|(id, record)| (id.to_string(), record.epoch));
        if let Some((holder, record)) =
            self.find(job.share_key.as_ref(), |record| record.state == ResultState::Writing)
            && holder != job.id
        {
            let epoch = record.epoch;
            if !is_void(epoch, state_and_epoch(holder)) {
                return Ok(NextStep::Wait);
            }
            let seen = ResultInput { epoch, ..input.clone() };
            ResultTransition::Remove.rule().apply(&mut self.0.get_mut(&holder).expect("found").record, &seen);
        }
        let own = self.0.get_mut(&job.id).expect("inserted");
        if ResultTransition::Begin.rule().apply(&mut own.record, &input) {
            own.written = None;
            Ok(NextStep::Write(Writing { fence: fence.clone(), replaces }))
        } else {
            Ok(NextStep::Wait)
        }
    }

    pub(super) fn finish(
        &mut self,
        job: &Job,
        writing: &Writing,
        written: &WrittenResult,
        progress: &Progress,
        retention: Duration,
        now_ms: i64,
    ) -> Result<Option<FinishedResult>, StoreError> {
        let uri = written.result.export_uri.clone();
        let fence = &writing.fence;
        let input =
            ResultInput { uri: uri.clone(), retention_ms: millis(retention), ..input(job, fence, now_ms) };
        if ResultTransition::Finish
            .rule()
            .holds(self.0.get(&job.id).and_then(|own| own.record.as_ref()), &input)
        {
            self.retire(writing, &input);
            if self.find(job.share_key.as_ref(), |record| record.is_current).is_some() {
                return Err(StoreError::Contended("the current result of an export"));
            }
            let own = self.0.get_mut(&job.id).expect("it is WRITING");
            ResultTransition::Finish.rule().apply(&mut own.record, &input);
            own.written = Some((written.clone(), progress.clone()));
        }
        // A repeated call finds what the first one has finished.
        let is_own = self.0.get(&job.id).and_then(|own| own.record.as_ref()?.uri.clone()) == Some(uri);
        if is_own { self.finished(job.id).map(Some) } else { Ok(None) }
    }

    pub(super) fn mark_checked(&mut self, comparison: &Comparison) {
        let Comparison { result, epoch, looked_at } = comparison;
        let input = ResultInput {
            now_ms: 0,
            epoch: *epoch,
            owner: String::new(),
            uri: String::new(),
            retention_ms: 0,
            least_lifetime_ms: 0,
            fresh_since_ms: None,
            created_at_ms: 0,
            looked_at_ms: looked_at.timestamp_millis(),
            has_share_key: true,
        };
        let checked = self.0.get_mut(&result.id).expect("a result");
        ResultTransition::Check.rule().apply(&mut checked.record, &input);
    }

    /// The unique index admits one current result, so the one that this result replaces is retired.
    fn retire(&mut self, writing: &Writing, input: &ResultInput<String>) {
        let Some((replaced, epoch)) = &writing.replaces else { return };
        let replaced: JobId = replaced.parse().expect("an id");
        let seen = ResultInput { epoch: *epoch, ..input.clone() };
        if let Some(replaced) = self.0.get_mut(&replaced) {
            ResultTransition::Retire.rule().apply(&mut replaced.record, &seen);
        }
    }

    fn find(
        &self,
        share_key: Option<&String>,
        is_wanted: impl Fn(&ResultRecord<String>) -> bool,
    ) -> Option<(JobId, &ResultRecord<String>)> {
        let share_key = share_key?;
        let of_key = self.0.iter().filter(|(_, result)| result.share_key.as_ref() == Some(share_key));
        of_key
            .filter_map(|(id, result)| Some((*id, result.record.as_ref()?)))
            .find(|(_, record)| is_wanted(record))
    }

    fn finished(&self, id: JobId) -> Result<FinishedResult, StoreError> {
        let finished = self.0.get(&id).and_then(|result| {
            let (written, progress) = result.written.clone()?;
            let record = result.record.as_ref()?;
            let expires_at = record.expires_at_ms.and_then(DateTime::from_timestamp_millis);
            let begun_at = DateTime::from_timestamp_millis(record.begun_at_ms)?;
            let checked_at = DateTime::from_timestamp_millis(record.checked_at_ms)?;
            let WrittenResult { result, source_state, .. } = written;
            Some(FinishedResult { id, result, progress, expires_at, begun_at, checked_at, source_state })
        });
        finished.ok_or_else(|| StoreError::Corrupt("a finished result without content".to_owned()))
    }
}
