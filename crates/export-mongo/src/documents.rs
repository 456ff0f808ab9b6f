//! [`Documents`]: a collection of the service.

use bson::Document;
use futures_util::TryStreamExt;
use mongodb::options::{
    AggregateOptions, CollectionOptions, FindOptions, IndexOptions, ReadConcern, ReturnDocument,
    UpdateModifications,
};
use mongodb::results::UpdateResult;
use mongodb::{Collection, Database, IndexModel};

use crate::client::{
    Connections, MongoClient, READ_TIME, bounded, bounded_maintenance, bounded_read, durable,
};
use crate::error::StoreError;
use crate::server_errors::{BAD_VALUE, NAMESPACE_EXISTS, are_all_duplicates, has_code};

/// A collection of the service's own database. Every operation has a name for errors, a timeout
/// (see [`bounded`]) and, while it runs, one of the process's connections; every read also has a
/// time limit on the server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Documents {
    collection: Collection<Document>,
    connections: Connections,
}

impl Documents {
    /// The collection of this name, with the options [`durable`].
    pub fn new(mongo: &MongoClient, database: &str, name: &str) -> Self {
        let collection = mongo.client().database(database).collection_with_options(name, durable());
        Self { collection, connections: mongo.connections().clone() }
    }

    /// A collection with these options.
    pub fn with_options(mongo: &MongoClient, database: &str, name: &str, options: CollectionOptions) -> Self {
        Self::new(mongo, database, name).sibling(name, options)
    }

    /// Another collection of the same database, with these options.
    #[must_use]
    pub fn sibling(&self, name: &str, options: CollectionOptions) -> Self {
        let collection = self.database().collection_with_options(name, options);
        Self { collection, connections: self.connections.clone() }
    }

    /// The same collection, read as the primary has it now: a write that no majority has
    /// acknowledged yet is visible.
    #[must_use]
    pub fn with_local_reads(&self) -> Self {
        let mut options = durable();
        options.read_concern = Some(ReadConcern::local());
        self.sibling(self.name(), options)
    }

    /// The driver's collection, whose operations have no timeout.
    pub fn collection(&self) -> &Collection<Document> {
        &self.collection
    }

    /// The name of the collection.
    pub fn name(&self) -> &str {
        self.collection.name()
    }

    /// The database that has the collection.
    pub fn database(&self) -> Database {
        self.collection.client().database(&self.collection.namespace().db)
    }

    /// Runs a write of the driver under the timeout.
    pub async fn run<T, F>(
        &self,
        operation: &'static str,
        action: impl FnOnce(Collection<Document>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
    {
        let action = self.with_connection(operation, action(self.collection.clone())).await?;
        bounded(operation, action).await
    }

    /// Waits for a connection, which the returned future holds until it ends.
    async fn with_connection<F: Future>(
        &self,
        operation: &'static str,
        action: F,
    ) -> Result<impl Future<Output = F::Output> + use<F>, StoreError> {
        let connection = self.connections.acquire(operation).await?;
        Ok(async move {
            let answer = action.await;
            drop(connection);
            answer
        })
    }

    /// Runs a read of the driver under the timeout. The caller sets its `maxTimeMS`. The read is
    /// cancelled when its caller is gone.
    pub async fn read<T, F>(
        &self,
        operation: &'static str,
        action: impl FnOnce(Collection<Document>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
    {
        let action = self.with_connection(operation, action(self.collection.clone())).await?;
        bounded_read(operation, action).await
    }

    /// Runs an operation of an administrator that may take as long as the collection is large.
    pub async fn maintain<T, F>(
        &self,
        operation: &'static str,
        action: impl FnOnce(Collection<Document>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
    {
        bounded_maintenance(operation, action(self.collection.clone())).await
    }

    /// Runs a command on the database.
    pub async fn command(&self, operation: &'static str, command: Document) -> Result<Document, StoreError> {
        let database = self.database();
        self.run(operation, |_| async move { database.run_command(command).await }).await
    }

    /// The first document that matches, with the fields of the projection; an empty projection is
    /// the whole document.
    pub async fn find_one(
        &self,
        operation: &'static str,
        filter: Document,
        projection: Document,
    ) -> Result<Option<Document>, StoreError> {
        self.read(operation, |documents| async move {
            documents.find_one(filter).projection(projection).max_time(READ_TIME).await
        })
        .await
    }

    /// All documents that match.
    pub async fn find(
        &self,
        operation: &'static str,
        filter: Document,
        mut options: FindOptions,
    ) -> Result<Vec<Document>, StoreError> {
        options.max_time.get_or_insert(READ_TIME);
        self.read(operation, |documents| async move {
            documents.find(filter).with_options(options).await?.try_collect().await
        })
        .await
    }

    /// The output of an aggregation pipeline that writes nothing. If the options hint at an index
    /// that does not exist, because the database is not provisioned yet, the server chooses the
    /// index.
    pub async fn aggregate(
        &self,
        operation: &'static str,
        stages: Vec<Document>,
        mut options: AggregateOptions,
    ) -> Result<Vec<Document>, StoreError> {
        options.max_time.get_or_insert(READ_TIME);
        self.read(operation, |documents| async move {
            let found = documents.aggregate(stages.clone()).with_options(options.clone()).await;
            let found = match found {
                Err(error) if options.hint.take().is_some() && has_code(&error, BAD_VALUE) => {
                    documents.aggregate(stages).with_options(options).await?
                }
                found => found?,
            };
            found.try_collect().await
        })
        .await
    }

    /// One compare-and-set: sets these fields, which may be expressions, in the document that
    /// matches. Returns the document afterwards; `None` if none matched.
    pub async fn change_one(
        &self,
        operation: &'static str,
        filter: Document,
        changes: Document,
    ) -> Result<Option<Document>, StoreError> {
        self.run(operation, |documents| async move {
            let change = documents.find_one_and_update(filter, set(changes));
            change.return_document(ReturnDocument::After).await
        })
        .await
    }

    /// Updates the document that matches, if there is one.
    pub async fn update_one(
        &self,
        operation: &'static str,
        filter: Document,
        update: impl Into<UpdateModifications>,
    ) -> Result<UpdateResult, StoreError> {
        let update = update.into();
        self.run(operation, |documents| async move { documents.update_one(filter, update).await }).await
    }

    /// Updates the document that matches, or creates it; returns it afterwards, with the fields of
    /// the projection.
    pub async fn upsert(
        &self,
        operation: &'static str,
        filter: Document,
        update: impl Into<UpdateModifications>,
        projection: Document,
    ) -> Result<Document, StoreError> {
        let update = update.into();
        let upserted = self.run(operation, |documents| async move {
            let upsert = documents.find_one_and_update(filter, update).upsert(true);
            upsert.return_document(ReturnDocument::After).projection(projection).await
        });
        upserted.await?.ok_or(StoreError::Bug("an upserted document was not returned"))
    }

    /// Updates all documents that match.
    pub async fn update_many(
        &self,
        operation: &'static str,
        filter: Document,
        update: impl Into<UpdateModifications>,
    ) -> Result<UpdateResult, StoreError> {
        let update = update.into();
        self.run(operation, |documents| async move { documents.update_many(filter, update).await }).await
    }

    /// Inserts the documents whose `_id` does not exist yet.
    pub async fn insert_missing(
        &self,
        operation: &'static str,
        new: Vec<Document>,
    ) -> Result<(), StoreError> {
        self.run(operation, |documents| async move {
            match documents.insert_many(new).ordered(false).await {
                Err(error) if !are_all_duplicates(&error) => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Creates the collection unless it exists.
    pub async fn create(&self) -> Result<(), StoreError> {
        let (database, name) = (self.database(), self.name().to_owned());
        self.run("create a collection", |_| async move {
            match database.create_collection(name).await {
                Err(error) if !has_code(&error, NAMESPACE_EXISTS) => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Creates the indexes that do not exist yet.
    pub async fn create_indexes(
        &self,
        operation: &'static str,
        indexes: impl IntoIterator<Item = IndexModel> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.maintain(operation, |documents| async move { documents.create_indexes(indexes).await.map(drop) })
            .await
    }
}

/// The update that sets these fields, whose values may be expressions.
pub fn set(changes: Document) -> Vec<Document> {
    vec![bson::doc! { "$set": changes }]
}

/// An index of this name over these keys.
pub fn index(name: &str, keys: Document) -> IndexModel {
    index_with(name, keys, IndexOptions::default())
}

/// An index of this name over these keys, with further options.
pub fn index_with(name: &str, keys: Document, mut options: IndexOptions) -> IndexModel {
    options.name = Some(name.to_owned());
    IndexModel::builder().keys(keys).options(options).build()
}

/// An index that contains only the documents which match the condition.
pub fn partial_index(name: &str, keys: Document, condition: Document) -> IndexModel {
    index_with(name, keys, IndexOptions::builder().partial_filter_expression(condition).build())
}

/// Like [`partial_index`], and no two of these documents have the same keys.
pub fn unique_index(name: &str, keys: Document, condition: Document) -> IndexModel {
    let options = IndexOptions::builder().unique(true).partial_filter_expression(condition).build();
    index_with(name, keys, options)
}
