//! A test's own names on the real services, and the reference exporter reading from a real
//! database.

use bson::{Document, RawDocumentBuf, doc};
use export_fleet::{FleetSpec, HOUR_MS};
use export_testkit::isolation::TestSpace;
use export_testkit::oddities;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_database, export_documents};

use crate::oracle::assert_equals;

#[tokio::test]
async fn the_reference_reads_every_oddity_from_the_database() {
    for fleet in [oddities::one_day(), oddities::near_1970()] {
        let space = TestSpace::create().await;
        space.insert_fleet(&fleet).await;
        let request =
            ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, ..ReferenceRequest::default() };
        let export =
            export_database(&space.mongodb, &space.vehicle_prefix, &request).await.expect("an export");
        assert_equals(&fleet, &space.vehicle_prefix, &export);
        space.cleanup().await;
    }
}

#[tokio::test]
async fn the_database_gives_the_same_as_the_documents() {
    let space = TestSpace::create().await;
    let spec = FleetSpec {
        seed: 3,
        vehicles: 1,
        first_hour_ms: 1_543_536_000_000 + 8 * HOUR_MS,
        hours: 4,
        vehicle_prefix: space.vehicle_prefix.clone(),
        oddities: true,
        rhythm: export_fleet::Rhythm::Paired,
    };
    let vehicle = spec.vehicle(0);
    let mut source = SourceVehicle { database: vehicle.database().to_owned(), ..SourceVehicle::default() };
    for part in vehicle.hours().flat_map(|hour| hour.documents) {
        let document = Document::try_from(&part.document).expect("valid BSON");
        source.collections.entry(part.parameter.to_owned()).or_default().push(document.into());
        let database = space.mongodb.database(vehicle.database());
        database
            .collection::<RawDocumentBuf>(part.parameter)
            .insert_one(part.document)
            .await
            .expect("a stored hour");
    }
    let request = ReferenceRequest {
        from_ms: spec.first_hour_ms + HOUR_MS / 2,
        to_ms: spec.first_hour_ms + 2 * HOUR_MS,
        ..ReferenceRequest::default()
    };
    let read = export_database(&space.mongodb, &space.vehicle_prefix, &request).await.expect("an export");
    assert!(read.vehicles[0].rows > 10_000);
    assert_eq!(read, export_documents(&request, &[source]));
    space.cleanup().await;
}

#[tokio::test]
async fn views_and_system_collections_are_no_parameters() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "soc", Vec::new()).await;
    let database = space.mongodb.database(&space.vehicle("001"));
    database
        .create_collection("latest")
        .view_on("soc".to_owned())
        .pipeline([doc! { "$limit": 1 }])
        .await
        .expect("a view");
    let request = ReferenceRequest { from_ms: 0, to_ms: 1, ..ReferenceRequest::default() };
    let export = export_database(&space.mongodb, &space.vehicle_prefix, &request).await.expect("an export");
    assert_eq!(export.parameters, ["soc"]);
    space.cleanup().await;
}

#[tokio::test]
async fn a_space_is_gone_after_its_cleanup() {
    let space = TestSpace::create().await;
    let (mongodb, s3, prefix, bucket) =
        (space.mongodb.clone(), space.s3.clone(), space.vehicle_prefix.clone(), space.bucket.clone());
    space.insert_hours("001", "soc", Vec::new()).await;
    let body = b"result".to_vec().into();
    s3.put_object().bucket(&bucket).key("exports/a.zip").body(body).send().await.expect("an object");
    assert_eq!(space.object_keys().await, ["exports/a.zip"]);
    assert_eq!(space.object("exports/a.zip").await, b"result");
    space.cleanup().await;
    let names = mongodb.list_database_names().await.expect("names");
    assert!(!names.iter().any(|name| name.starts_with(&prefix)));
    assert!(s3.head_bucket().bucket(&bucket).send().await.is_err());
}
