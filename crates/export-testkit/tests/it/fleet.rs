//! The synthetic fleet through the reference exporter: the counted oddities are exactly the
//! intended ones.

use bson::Document;
use export_fleet::{FleetSpec, HOUR_MS};
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};

#[test]
fn a_fleet_with_oddities_exports_and_reconciles() {
    let spec = FleetSpec {
        seed: 1,
        vehicles: 2,
        first_hour_ms: 1_543_536_000_000,
        hours: 24,
        vehicle_prefix: "vehicle_".to_owned(),
        oddities: true,
        rhythm: export_fleet::Rhythm::Paired,
    };
    let vehicles: Vec<SourceVehicle> = spec
        .vehicles()
        .map(|vehicle| {
            let mut source =
                SourceVehicle { database: vehicle.database().to_owned(), ..SourceVehicle::default() };
            for part in vehicle.hours().flat_map(|hour| hour.documents) {
                let document = Document::try_from(&part.document).expect("valid BSON");
                source.collections.entry(part.parameter.to_owned()).or_default().push(document.into());
            }
            source
        })
        .collect();
    let request = ReferenceRequest {
        from_ms: spec.first_hour_ms,
        to_ms: spec.first_hour_ms + 24 * HOUR_MS,
        ..ReferenceRequest::default()
    };
    let export = export_documents(&request, &vehicles);
    assert_eq!(export.parameters, export_fleet::PARAMETERS);
    for vehicle in &export.vehicles {
        assert!((160_000..190_000).contains(&vehicle.rows), "{} rows", vehicle.rows);
        assert!(vehicle.duplicates > 0 && vehicle.reconciles());
        let reasons: Vec<&str> = vehicle.rejected_points.keys().map(String::as_str).collect();
        assert_eq!(reasons, ["documentValue", "invalidKey", "outsideHour"]);
    }
}
