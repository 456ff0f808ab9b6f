use serde_json::json;

use super::*;

#[test]
fn warnings_are_read_as_they_are_written() {
    let vehicle: VehicleId = "vehicle_001".parse().expect("a vehicle");
    let warnings = Warnings {
        list: vec![Warning::after_last_data_of(&vehicle, 0), Warning::catalog_not_ready(None)],
        more: 1,
    };
    let json = serde_json::to_value(&warnings).expect("JSON");
    assert_eq!(json["warnings"][0]["vehicle"], "vehicle_001");
    assert_eq!(json["warnings"][0]["code"], "after_last_data");
    assert_eq!((json["warnings"][1].get("vehicle"), &json["warningsMore"]), (None, &json!(1)));
    assert_eq!(serde_json::from_value::<Warnings>(json).expect("warnings"), warnings);
    assert_eq!(serde_json::to_value(Warnings::default()).expect("JSON"), json!({ "warnings": [] }));
    for code in WarningCode::ALL {
        assert!(Warning::new(code, "").is(code));
    }
}
