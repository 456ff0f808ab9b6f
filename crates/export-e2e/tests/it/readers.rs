//! Python's readers find every text and every name of a result. (`cargo xtask readers` asks more
//! programs, `LibreOffice` among them.)

use std::fs;
use std::path::Path;
use std::process::Command;

use bson::Bson;
use export_testkit::dump::write_dump;
use export_testkit::hour::HourBuilder;
use export_testkit::program::Program;
use export_testkit::reference::SourceVehicle;
use serde_json::{Value, json};

use crate::command_line::programs;

/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;
const TEXTS: [&str; 22] = [
    "",
    " ",
    "a,b",
    "say \"hi\"",
    "two\nlines",
    "a\rb",
    "a\r\nb",
    "a\tb",
    "a\0b",
    "\u{1}",
    "a\u{b}b",
    "a\u{c}b",
    "\u{1a}",
    "a\u{1f}",
    "\u{7f}",
    "a\u{85}b",
    "a\u{2028}b",
    "a\u{2029}b",
    "\u{feff}a",
    "x;=1+1",
    "-33.86|151.21",
    "+31 6 1234",
];

/// Writes a folder with one file per vehicle: `soc` has the texts, `odo` their numbers, and the
/// other parameters have names that are equal for some programs.
fn exported(folder: &Path, flags: &[&str]) -> Value {
    let dump = folder.join("dump");
    let points = |value: fn(usize) -> Bson| {
        let times = (DAY_MS..).zip(0..TEXTS.len());
        vec![HourBuilder::new(DAY_MS).points(times.map(|(ms, index)| (ms, value(index)))).build().into()]
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a few texts")]
    let number = |index| Bson::Int32(index as i32);
    let names = ["time", "SOC", "odo", "two\nlines", "\u{1a}", "=1+1"];
    let mut collections: std::collections::BTreeMap<_, _> =
        names.map(|name| (name.to_owned(), points(number))).into();
    collections.insert("soc".to_owned(), points(|index| Bson::String(TEXTS[index].to_owned())));
    let vehicle = SourceVehicle { database: "vehicle_001".to_owned(), collections };
    write_dump(&dump, &[vehicle], false).expect("a dump");

    let output = folder.join("output");
    let [dump, output] = [&dump, &output].map(|path| path.to_str().expect("UTF-8"));
    let mut arguments =
        vec!["run", "--dump", dump, "--from", "2018-11-30", "--to", "2018-12-01", "--archive", "none"];
    arguments.extend(flags);
    arguments.extend(["--output", output]);
    let ended = Program::new(&programs().join("exports").to_string_lossy(), &arguments, &[]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let manifest = fs::read(Path::new(output).join("manifest.json")).expect("a manifest");
    serde_json::from_slice(&manifest).expect("JSON")
}

/// Runs a script that prints the header and the rows that each reader finds, one JSON per line.
fn read(folder: &Path, script: &str) -> Vec<Value> {
    let file = folder.join("script.py");
    fs::write(&file, script).expect("a script");
    let python = std::env::var_os("TEST_PYTHON_PROGRAM")
        .expect("TEST_PYTHON_PROGRAM is not set: run the tests with `cargo xtask test`");
    let ran = Command::new(python).arg(&file).current_dir(folder.join("output")).output().expect("python");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8(ran.stdout).expect("UTF-8");
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

const CSV_READERS: &str = r#"
import csv, json
import duckdb, pandas, polars

path = "vehicle_001.csv"
with open(path, encoding="utf-8", newline="") as file:
    header, *rows = csv.reader(file, strict=True)
print(json.dumps(["csv", header, [row[1] for row in rows]]))
frame = pandas.read_csv(path, dtype={"soc": str}, keep_default_na=False, lineterminator="\n")
print(json.dumps(["pandas", list(frame.columns), frame["soc"].tolist()]))
frame = polars.read_csv(path, infer_schema=False)
print(json.dumps(["polars", frame.columns, frame["soc"].to_list()]))
table = duckdb.sql(f"""
    SELECT * FROM read_csv('{path}', header = true, all_varchar = true, delim = ',', quote = '"', escape = '"',
                           new_line = '\\n', comment = '', allow_quoted_nulls = false)
""")
print(json.dumps(["duckdb", table.columns, [row[1] for row in table.fetchall()]]))
"#;

/// NUL is U+FFFD; with the guard off everything else is the stored text.
#[test]
fn a10_python_s_readers_find_every_text_of_a_csv() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = exported(folder.path(), &["--compression", "none", "--csv-guard", "off"]);
    assert_eq!(manifest["vehicles"][0]["replaced"], 1);
    let header = json!(["time", "soc", "odo", "\u{1a}", "=1+1", "SOC_2", "time_2", "two\nlines"]);
    let texts: Vec<String> = TEXTS.iter().map(|text| text.replace('\0', "\u{fffd}")).collect();
    let found = read(folder.path(), CSV_READERS);
    assert_eq!(found.len(), 4);
    for reader in found {
        assert_eq!(reader[1], header, "{}", reader[0]);
        assert_eq!(reader[2], json!(texts), "{}", reader[0]);
    }
}

/// Parquet keeps every text.
#[test]
fn a7_python_s_readers_find_every_column_of_a_parquet_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = exported(folder.path(), &["--format", "parquet"]);
    let renamed = json!({ "SOC": "SOC_2", "time": "time_2" });
    assert_eq!(manifest["renamedColumns"], renamed);
    let script = r#"
import json
import duckdb, pandas, polars, pyarrow.parquet

path = "vehicle_001.parquet"
table = pyarrow.parquet.read_table(path)
print(json.dumps(["pyarrow", table.column_names, table["soc"].to_pylist()]))
frame = pandas.read_parquet(path)
print(json.dumps(["pandas", list(frame.columns), frame["soc"].tolist()]))
frame = polars.read_parquet(path)
print(json.dumps(["polars", frame.columns, frame["soc"].to_list()]))
table = duckdb.sql(f"SELECT * EXCLUDE (time) FROM read_parquet('{path}')")
print(json.dumps(["duckdb", ["time", *table.columns], [row[0] for row in table.fetchall()]]))
"#;
    let header = json!(["time", "soc", "odo", "\u{1a}", "=1+1", "SOC_2", "time_2", "two\nlines"]);
    let found = read(folder.path(), script);
    assert_eq!(found.len(), 4);
    for reader in found {
        assert_eq!(reader[1], header, "{}", reader[0]);
        assert_eq!(reader[2], json!(TEXTS), "{}", reader[0]);
    }
}
