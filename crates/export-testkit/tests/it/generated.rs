//! The reference on generated cases.

use export_testkit::generated::dump_case;
use export_testkit::reference::export_documents;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The reference itself asserts that its numbers add up.
    #[test]
    fn the_reference_reconciles_on_everything_that_a_dump_may_hold(case in dump_case()) {
        let export = export_documents(&case.request, &case.vehicles);
        if case.request.options.fill_previous {
            prop_assert!(export.vehicles.iter().all(|vehicle| vehicle.rows <= 5_000));
        }
    }
}
