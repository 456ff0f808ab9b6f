//! The deployment of one test: its names, its services, and the settings that processes need to use
//! them.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_testkit::isolation::TestSpace;
use export_testkit::program::Program;
use export_testkit::services::Services;
use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::options::{ReadConcern, SelectionCriteria};

use crate::broker::Broker;
use crate::job_document::state_of;
use crate::links::Links;

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(20);
/// Prefix of the keys of results.
const KEY_PREFIX: &str = "exports/";
/// Names and services of one test, provisioned by the real `exports provision`.
pub struct Deployment {
    /// Its databases, bucket and names.
    pub space: TestSpace,
    /// The broker as an administrator sees it.
    pub broker: Broker,
    programs: PathBuf,
}

impl Deployment {
    /// On the services that all tests share; with its own queues, indexes and bucket.
    pub async fn start() -> Self {
        Self::on(Services::from_environment()).await
    }

    /// On these services, for instance some that belong to the test: `Services { rabbitmq_url:
    /// rabbitmq.url(), ..Services::from_environment() }`.
    pub async fn on(services: Services) -> Self {
        let programs = env::var_os("TEST_PROGRAMS_DIR").unwrap_or_else(|| {
            panic!("TEST_PROGRAMS_DIR is not set: tests of the programs are run with `cargo xtask test`")
        });
        let space = TestSpace::create_on(services).await;
        let broker = Broker::new(&space.services.rabbitmq_url, &space.topology);
        let deployment = Self { space, broker, programs: programs.into() };
        // Nacked messages return quickly, so that tests do not wait for the delay.
        deployment.provision(&[("RETRY_REST_MS", "200")]).await;
        deployment
    }

    /// Runs `exports provision` with these settings. Panics when it fails.
    pub async fn provision(&self, settings: &[(&str, &str)]) {
        let links = self.links().await;
        let program = self.program("exports", &["provision"], &links);
        let program = settings.iter().fold(program, |program, (name, value)| program.with(name, value));
        let ended = tokio::task::spawn_blocking(move || program.run()).await;
        let ended = ended.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ended.code, Some(0), "exports provision: {}", ended.output);
    }

    /// Proxies to the services, for a process that is started later.
    pub async fn links(&self) -> Links {
        Links::to(&self.space.services).await
    }

    /// A program of the project with all settings that name this deployment's services.
    pub fn program(&self, name: &str, arguments: &[&str], links: &Links) -> Program {
        let (space, services) = (&self.space, &self.space.services);
        let path = self.programs.join(name);
        let settings = [
            ("ADMIN_ADDR", "127.0.0.1:0".to_owned()),
            ("MONGODB_URI", links.mongodb_uri()),
            ("JOBS_DATABASE", space.jobs_database.clone()),
            ("VEHICLE_DATABASE_PREFIX", space.vehicle_prefix.clone()),
            ("RABBITMQ_URL", links.rabbitmq_url()),
            ("RABBITMQ_NAME_PREFIX", space.topology.clone()),
            ("S3_BUCKET", space.bucket.clone()),
            ("S3_KEY_PREFIX", KEY_PREFIX.to_owned()),
            ("S3_FORCE_PATH_STYLE", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL_S3", links.s3_endpoint_url()),
            ("AWS_ACCESS_KEY_ID", services.s3_access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", services.s3_secret_access_key.clone()),
            // Prevents the use of the developer's AWS profile.
            ("HOME", "/nonexistent".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            // With another value, a worker encodes only while no other test needs the processor, so
            // that an export may take minutes.
            ("WORKER_NICE", "0".to_owned()),
        ];
        let program = Program::new(&path.to_string_lossy(), arguments, &[]);
        settings.iter().fold(program, |program, (name, value)| program.with(name, value))
    }

    /// The job documents, read from the primary.
    pub fn jobs(&self) -> Collection<Document> {
        self.collection("jobs")
    }

    /// The stored job without its announcements, which the relay removes at any moment. Panics when
    /// the job does not exist.
    pub async fn job(&self, job_id: &str) -> Document {
        let found = self.jobs().find_one(doc! { "_id": job_id }).projection(doc! { "unannounced": 0 }).await;
        let job = found.unwrap_or_else(|error| panic!("MongoDB does not answer: {error}"));
        job.unwrap_or_else(|| panic!("there is no job {job_id}"))
    }

    /// All jobs, the oldest first, in the form of [`Deployment::job`].
    pub async fn all_jobs(&self) -> Vec<Document> {
        let jobs = self.jobs();
        all(jobs.find(doc! {}).projection(doc! { "unannounced": 0 }).sort(doc! { "_id": 1 })).await
    }

    /// The stored result with this id; `None` when it does not exist.
    pub async fn result(&self, result_id: &str) -> Option<Document> {
        let found = self.collection("results").find_one(doc! { "_id": result_id }).await;
        found.unwrap_or_else(|error| panic!("MongoDB does not answer: {error}"))
    }

    /// All dead letters: messages that name no job.
    pub async fn dead_letters(&self) -> Vec<Document> {
        all(self.collection("deadLetters").find(doc! {}).sort(doc! { "receivedAt": 1 })).await
    }

    /// Polls a job until `is_wanted`. Panics after two minutes.
    pub async fn until(&self, job_id: &str, is_wanted: impl Fn(&Document) -> bool) -> Document {
        let asked_at = Instant::now();
        loop {
            let job = self.job(job_id).await;
            if is_wanted(&job) {
                return job;
            }
            assert!(asked_at.elapsed() < PATIENCE, "timeout; the job is: {job:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Polls a job until it is in this state. Panics after two minutes.
    pub async fn until_state(&self, job_id: &str, state: &str) -> Document {
        self.until(job_id, |job| state_of(job) == state).await
    }

    /// Polls a condition until it holds. Panics after two minutes.
    pub async fn until_so<F>(&self, what: &str, is_so: impl Fn() -> F)
    where
        F: Future<Output = bool>,
    {
        let asked_at = Instant::now();
        while !is_so().await {
            assert!(asked_at.elapsed() < PATIENCE, "timeout waiting until {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until no queue has a message; a worker must be running to consume them. Panics after
    /// two minutes.
    pub async fn until_queues_are_empty(&self) {
        self.until_so("queues are empty", || self.are_queues_empty()).await;
    }

    pub(crate) async fn are_queues_empty(&self) -> bool {
        let mut are_empty = true;
        for name in [self.broker.jobs_queue(), self.broker.retry_queue()] {
            are_empty &= self.broker.queue(&name).await.is_none_or(|queue| queue.ready == 0);
        }
        are_empty
    }

    /// Waits until a worker has made the catalog. Until then the number of vehicles is unknown, and
    /// an export that names none is bulk, for which not all lanes are. Panics after two minutes.
    pub async fn until_catalog_is_made(&self) {
        let catalog = self.collection("catalog");
        let is_made = || async {
            matches!(catalog.find_one(doc! { "trustedUntil": { "$exists": true } }).await, Ok(Some(_)))
        };
        self.until_so("the catalog is made", is_made).await;
    }

    /// Removes everything that the test created, in any state.
    pub async fn forget(self) {
        for name in [self.broker.jobs_queue(), self.broker.retry_queue()] {
            self.broker.delete(&name).await;
        }
        self.space.cleanup().await;
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        let options = mongodb::options::CollectionOptions::builder()
            .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
            .read_concern(ReadConcern::majority())
            .build();
        self.space.mongodb.database(&self.space.jobs_database).collection_with_options(name, options)
    }
}

async fn all(find: mongodb::action::Find<'_, Document>) -> Vec<Document> {
    let found = async { find.await?.try_collect().await };
    found.await.unwrap_or_else(|error: mongodb::error::Error| panic!("MongoDB does not answer: {error}"))
}
