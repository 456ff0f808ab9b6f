//! Keys of one test.

use export_core::access::{AllowedVehicles, Scope};
use export_core::key::{ApiKey, KeyName, RANDOM_BYTES};
use export_mongo::{KeyEnd, KeyStore, NewKey};
use uuid::Uuid;

use crate::stack::Stack;

impl Stack {
    /// A new key of this tenant, with these rights, to be sent as it is.
    pub async fn key(
        &self,
        tenant: &str,
        scopes: &[Scope],
        vehicles: AllowedVehicles,
        end: KeyEnd,
    ) -> String {
        let mut random = [0; RANDOM_BYTES];
        for part in random.chunks_mut(16) {
            let more = Uuid::new_v4();
            part.copy_from_slice(&more.as_bytes()[..part.len()]);
        }
        let key = ApiKey::new(&random);
        let new = NewKey {
            id: key.id().clone(),
            hash: key.hash(),
            tenant: tenant.parse().unwrap_or_else(|error| panic!("{error}")),
            name: KeyName::default(),
            scopes: scopes.to_vec(),
            vehicles,
            end,
        };
        let made = self.key_store().await.create(&new).await;
        made.unwrap_or_else(|error| panic!("no key: {error}"));
        key.reveal()
    }

    /// The keys of this test.
    pub async fn key_store(&self) -> KeyStore {
        let uri = self.space.services.mongodb_uri.clone().into();
        let client = export_mongo::connect(&uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        KeyStore::new(&client, &self.space.jobs_database)
    }
}
