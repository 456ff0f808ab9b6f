//! The footer of Parquet files: who wrote them, and the statistics by which readers skip row groups.

use bytes::Bytes;
use export_core::RESULT_FORMAT_VERSION;
use export_core::output::{Archive, Format};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use parquet::basic::ColumnOrder;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::statistics::Statistics;

use crate::harness::{InMemory, Run, plan};

const START_MS: i64 = 1_543_536_000_000;
/// So that a row group has a few rows only.
const TEXT_BYTES: usize = 1 << 20;

/// The footer of a file with several row groups. The parameter `ratio` is NaN in the first row.
fn footer(row_count: i64) -> ParquetMetaData {
    let mut texts = HourBuilder::new(START_MS);
    for row in 0..row_count {
        texts = texts.point(START_MS + row, "x".repeat(TEXT_BYTES));
    }
    let numbers = HourBuilder::new(START_MS).points((0..row_count).map(|row| (START_MS + row, row)));
    let ratio = |row: i64| if row == 0 { f64::NAN } else { 0.5 };
    let ratios = HourBuilder::new(START_MS).points((0..row_count).map(|row| (START_MS + row, ratio(row))));
    let vehicle = SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: [
            ("text".to_owned(), vec![texts.build().into()]),
            ("soc".to_owned(), vec![numbers.build().into()]),
            ("ratio".to_owned(), vec![ratios.build().into()]),
        ]
        .into(),
    };
    let vehicles = [vehicle];
    let request =
        ReferenceRequest { from_ms: START_MS, to_ms: START_MS + 3_600_000, ..ReferenceRequest::default() };
    let mut plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    plan.request.output.format = Format::Parquet;
    plan.request.output.archive = Archive::None;
    let exported = Run::default().export(&plan, &InMemory(&vehicles)).expect("an export");
    let (_, file) = exported.sink.written.into_iter().next().expect("a file");
    SerializedFileReader::new(Bytes::from(file)).expect("a Parquet file").metadata().clone()
}

/// parquet-mr splits `created_by` at ` version ` and at `(build …)`; Java programs look up known
/// faults of writers by the parts.
#[test]
fn a9_java_can_read_who_wrote_the_file() {
    let created_by = footer(1).file_metadata().created_by().expect("a writer").to_owned();
    let (application, rest) = created_by.split_once(" version ").expect("a version");
    let (version, build) = rest.split_once(" (build ").expect("a build");
    assert_eq!(application, "exports");
    assert_eq!(version, format!("0.{RESULT_FORMAT_VERSION}.0"));
    let build = build.strip_suffix(')').expect("the end of the build");
    assert!(!build.is_empty() && !build.contains(['(', ')']), "{build}");
}

#[test]
fn a9_readers_can_skip_row_groups_and_find_every_nan() {
    let footer = footer(11);
    assert!(footer.num_row_groups() > 2, "{}", footer.num_row_groups());
    let mut first_ms = START_MS;
    for group in footer.row_groups() {
        let last_ms = first_ms + group.num_rows() - 1;
        let of = |name: &str| {
            let column = group.columns().iter().find(|column| column.column_path().string() == name);
            column.expect("the column").statistics()
        };
        let [time, ratio, soc, text] = ["time", "ratio", "soc", "text"].map(of);
        // A reader that trusts the largest value, which leaves NaN out, would not find the NaN.
        assert_eq!(ratio.is_none(), first_ms == START_MS, "{ratio:?}");
        assert!(text.is_none(), "{text:?}");
        let [time, soc] = [time, soc].map(|statistics| statistics.expect("statistics"));
        let Statistics::Int64(times) = time else { panic!("{time:?}") };
        assert_eq!((times.min_opt(), times.max_opt()), (Some(&first_ms), Some(&last_ms)));
        assert!(times.min_is_exact() && times.max_is_exact());
        let Statistics::Double(numbers) = soc else { panic!("{soc:?}") };
        assert!(numbers.min_opt().is_some() && numbers.max_opt().is_some());
        assert!([time, soc].iter().all(|statistics| statistics.null_count_opt() == Some(0)));
        first_ms = last_ms + 1;
    }
    assert_eq!(first_ms, START_MS + 11);
}

/// A reader that does not know an order of values may refuse the file. This one is as old as the
/// field.
#[test]
fn a9_all_columns_have_the_order_of_their_type() {
    let footer = footer(1);
    let orders = footer.file_metadata().column_orders().expect("orders");
    assert_eq!(orders.len(), 4);
    assert!(orders.iter().all(|order| matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_))), "{orders:?}");
}

/// A vehicle without data has no row group at all.
#[test]
fn a9_a_file_without_rows_has_no_row_groups() {
    let footer = footer(0);
    assert_eq!((footer.num_row_groups(), footer.file_metadata().num_rows()), (0, 0));
}
