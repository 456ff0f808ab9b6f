//! The servers of a run, used by its schedules one after the other.

use export_testkit::isolation::TestSpace;
use export_testkit::own::{OwnMongod, OwnRabbitmq, OwnS3};
use export_testkit::services::Services;
use tokio::sync::Mutex;

use super::results::References;
use super::shape::store_fleet;

/// A database, a broker and an object store for one run, with the vehicles that all schedules
/// export. Every access holds its lock, so that no request is sent to a server that is being
/// restarted.
pub struct Servers {
    pub(super) mongod: Mutex<OwnMongod>,
    pub(super) rabbitmq: Mutex<OwnRabbitmq>,
    pub(super) s3: Mutex<OwnS3>,
    pub(super) references: Mutex<References>,
    pub(super) services: Services,
    /// Prefix of the vehicles' databases.
    pub(super) vehicle_prefix: String,
}

impl Servers {
    /// Starts all servers and stores the vehicles. Panics on failure.
    pub async fn start() -> Self {
        let mongod = OwnMongod::start().await;
        let rabbitmq = OwnRabbitmq::start(&[]);
        let s3 = OwnS3::start();
        let (access_key_id, secret_access_key) = s3.credentials();
        let services = Services {
            mongodb_uri: mongod.uri(),
            rabbitmq_url: rabbitmq.url(),
            rabbitmq_management_url: String::new(),
            s3_endpoint_url: s3.endpoint_url(),
            s3_access_key_id: access_key_id.to_owned(),
            s3_secret_access_key: secret_access_key.to_owned(),
        };
        let space = TestSpace::create_on(services.clone()).await;
        store_fleet(&space).await;
        Self {
            mongod: Mutex::new(mongod),
            rabbitmq: Mutex::new(rabbitmq),
            s3: Mutex::new(s3),
            references: Mutex::default(),
            services,
            vehicle_prefix: space.vehicle_prefix,
        }
    }
}
