//! Every block of docs/recipes.md does what the page says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::Datelike as _;
use export_core::digest::sha256_hex;
use export_e2e::Stack;
use export_testkit::hour::HourBuilder;
use export_testkit::program::Program;
use serde_json::Value;
use tempfile::TempDir;

use crate::command_line::programs;

const PAGE: &str = include_str!("../../../../docs/recipes.md");
/// The language of blocks that are not run. Of crontabs, only the command is run.
const NOT_RUN: &str = "text";
/// The minimum gap that the recipe lists, in milliseconds.
const LONGEST_GAP_MS: i64 = 5 * 60_000;
/// The day of the demo data, 2018-11-30T00:00:00Z.
const DEMO_DAY_MS: i64 = 1_543_536_000_000;
/// 2018-10-28T00:00:00+02:00, when a day of 25 hours begins in Amsterdam.
const CLOCK_CHANGE_DAY_MS: i64 = 1_540_677_600_000;
const HOUR_MS: i64 = 3_600_000;
/// The hour of that day without data.
const SILENT_HOUR: i64 = 20;
/// Python packages are slow to load on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Blocks by heading, each with its language and its text, in order.
fn blocks() -> BTreeMap<&'static str, Vec<(&'static str, String)>> {
    let mut blocks: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    let (mut heading, mut open) = ("", None::<(&str, String)>);
    for line in PAGE.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language, String::new())),
            (None, None) => heading = line.strip_prefix("### ").unwrap_or(heading),
            (Some(_), Some(_)) => blocks.entry(heading).or_default().extend(open.take()),
            (Some((_, text)), None) => text.extend([line, "\n"]),
        }
    }
    blocks
}

/// A service with two vehicles, and a reader's folder.
struct Reader {
    stack: Stack,
    folder: TempDir,
    left: BTreeMap<&'static str, Vec<(&'static str, String)>>,
}

impl Reader {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let services = &stack.space.services;
        let settings = [
            ("MONGODB_URI", services.mongodb_uri.as_str()),
            ("JOBS_DATABASE", &stack.space.jobs_database),
            ("VEHICLE_DATABASE_PREFIX", &stack.space.vehicle_prefix),
        ];
        let arguments = ["demo", "--tidy", "--vehicles", "2", "--days", "1"];
        let demo = Program::new(&programs().join("exports").to_string_lossy(), &arguments, &settings);
        let ended = tokio::task::spawn_blocking(move || demo.run()).await.expect("it ends");
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        // Parameters whose columns get other names, and parameters with names that recipes could
        // use.
        for name in ["time", "sOC", "filename", "file", "vehicle"] {
            let noon_ms = DEMO_DAY_MS + 43_200_000;
            let hour = HourBuilder::new(noon_ms).point(noon_ms + 1, 1).point(noon_ms + 2, "=1+1").build();
            stack.space.insert_hours("001", name, vec![hour]).await;
        }
        // A value in each of the 25 hours of a day on which clocks go back, and nothing for an hour.
        let hours = (0..25).filter(|hour| *hour != SILENT_HOUR).map(|hour| {
            let start_ms = CLOCK_CHANGE_DAY_MS + hour * HOUR_MS;
            HourBuilder::new(start_ms).point(start_ms + 1, 1).build()
        });
        stack.space.insert_hours("001", "time", hours.collect()).await;
        Self { stack, folder: tempfile::tempdir().expect("a folder"), left: blocks() }
    }

    /// Runs all blocks under a heading, like a reader. Returns each block's standard output.
    async fn follow(&mut self, heading: &str) -> Vec<String> {
        let blocks = self.left.remove(heading).unwrap_or_else(|| panic!("no recipe {heading:?}"));
        let mut outputs = Vec::new();
        for (language, text) in blocks.into_iter().filter(|(language, _)| *language != NOT_RUN) {
            let (folder, url) = (self.folder.path().to_owned(), self.stack.api_url.clone());
            let run = tokio::task::spawn_blocking(move || run_block(language, &text, &folder, &url));
            outputs.push(run.await.unwrap_or_else(|error| panic!("{heading}: {error}")));
        }
        outputs
    }

    /// The tables of `export.zip`, by vehicle.
    fn tables(&self) -> BTreeMap<String, Table> {
        self.csvs().into_iter().map(|(vehicle, csv)| (vehicle, Table::of(&csv))).collect()
    }

    /// The CSVs of `export.zip`, by vehicle.
    fn csvs(&self) -> BTreeMap<String, String> {
        let zip = fs::read(self.folder.path().join("export.zip")).expect("a zip");
        let mut zip = zip::ZipArchive::new(Cursor::new(zip)).expect("a zip");
        let names: Vec<String> = zip.file_names().map(|name| name.expect("UTF-8").into_owned()).collect();
        let csvs = names.iter().filter_map(|name| {
            let vehicle = name.strip_suffix(".csv")?;
            let mut text = String::new();
            zip.by_name(name).expect("an entry").read_to_string(&mut text).expect("UTF-8");
            Some((vehicle.to_owned(), text))
        });
        csvs.collect()
    }
}

/// The content that readers must find.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Table {
    rows: usize,
    odo: f64,
}

/// Counts the gaps between the rows of a CSV that are longer than the recipe's.
fn gap_count(csv: &str) -> usize {
    let time = |line: &str| line.split(',').next().and_then(|cell| cell.parse::<i64>().ok()).expect("a time");
    let times: Vec<i64> = csv.lines().skip(1).map(time).collect();
    times.windows(2).filter(|pair| pair[1] - pair[0] > LONGEST_GAP_MS).count()
}

/// Counts the clock hours with a cell that is not blank.
fn hours_with_data(csv: &str) -> usize {
    let rows = csv.lines().skip(1).filter_map(|line| line.split_once(','));
    let with_values = rows.filter(|(_, cells)| cells.chars().any(|character| character != ','));
    let hours = with_values.map(|(time, _)| time.parse::<i64>().expect("a time") / HOUR_MS);
    hours.collect::<BTreeSet<i64>>().len()
}

/// The day on which clocks go back has 25 hours, of which one has no data.
async fn clock_change(reader: &mut Reader) {
    let outputs = reader.follow("pandas, over a clock change").await;
    let of_vehicle: Vec<&str> = outputs[1].lines().filter(|line| line.contains("001.csv ")).collect();
    assert_eq!(of_vehicle.len(), 25, "{outputs:?}");
    for local in ["2018-10-28T02:00:00+02:00 1", "2018-10-28T02:00:00+01:00 1", "2018-10-28T23:00:00+01:00 1"]
    {
        assert!(of_vehicle.iter().any(|line| line.ends_with(local)), "{local}: {outputs:?}");
    }
    assert!(of_vehicle[24].ends_with("24 hours"), "{outputs:?}");
}

impl Table {
    fn of(csv: &str) -> Self {
        let mut lines = csv.lines();
        let head = lines.next().expect("a head");
        let column = head.split(',').position(|name| name == "odo").expect("an odometer");
        let values: Vec<Option<f64>> =
            lines.map(|line| line.split(',').nth(column).expect("a cell").parse().ok()).collect();
        Self { rows: values.len(), odo: values.iter().flatten().copied().fold(f64::MIN, f64::max) }
    }
}

/// Runs a block in this folder, like a reader; returns its standard output.
pub(crate) fn run_block(language: &str, text: &str, folder: &Path, api_url: &str) -> String {
    let mut command = match language {
        "sh" => Command::new("sh"),
        "python" => {
            Command::new(std::env::var_os("TEST_PYTHON_PROGRAM").expect("TEST_PYTHON_PROGRAM is set"))
        }
        other => panic!("a block in {other:?}, which nothing runs"),
    };
    let script = folder.join("script");
    // A block with several commands must not hide the failure of the first ones.
    let guarded = if language == "sh" { format!("set -e\n{text}") } else { text.to_owned() };
    fs::write(&script, guarded).expect("a script");
    let path = std::env::join_paths(
        [programs()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").expect("a PATH"))),
    );
    let (out, err) = (folder.join("out"), folder.join("err"));
    let file = |path: &PathBuf| Stdio::from(fs::File::create(path).expect("a file"));
    let mut child = command
        .arg(&script)
        .current_dir(folder)
        .env("PATH", path.expect("a PATH"))
        .env("EXPORTS_API_URL", api_url)
        .env("EXPORTS_API_KEY", "not-asked-for")
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn()
        .unwrap_or_else(|error| panic!("{language} cannot be started: {error}"));
    let began_at = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        if began_at.elapsed() > PATIENCE {
            child.kill().expect("it can be ended");
            panic!("this does not end:\n{text}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let [output, errors] = [out, err].map(|path| fs::read_to_string(path).expect("UTF-8"));
    assert!(status.success(), "{status}:\n{text}\n{output}\n{errors}");
    output
}

/// The numbers in `(7, 1.5)`.
fn pair(output: &str) -> Table {
    let numbers: Vec<f64> = output
        .trim()
        .trim_matches(['(', ')'])
        .split(',')
        .map(|number| number.trim().parse().unwrap_or_else(|_| panic!("no number: {output}")))
        .collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
    Table { rows: numbers[0] as usize, odo: numbers[1] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_every_recipe_works_although_a_parameter_is_called_time() {
    let mut reader = Reader::start().await;
    let text = reader.left.remove("").expect("settings");
    assert!(text.iter().all(|(language, _)| *language == NOT_RUN));

    let outputs = reader.follow("With curl").await;
    assert!(outputs[0].contains("export.zip: OK"), "{outputs:?}");
    let with_curl = fs::read(reader.folder.path().join("export.zip")).expect("a zip");
    fs::remove_file(reader.folder.path().join("export.zip")).expect("removable");
    let outputs = reader.follow("With `exports`").await;
    assert!(outputs[0].contains("manifest.json"), "{outputs:?}");
    assert!(fs::read(reader.folder.path().join("export.zip")).expect("a zip") == with_curl, "the same bytes");

    repeated(&mut reader).await;

    let tables = reader.tables();
    assert_eq!(tables.len(), 2);
    let rows: usize = tables.values().map(|table| table.rows).sum();
    assert!(rows > 100_000 && tables.values().all(|table| table.odo > 0.0), "{tables:?}");
    let all = Table { rows, odo: tables.values().map(|table| table.odo).fold(f64::MIN, f64::max) };

    checks(&mut reader, &tables).await;
    clock_change(&mut reader).await;

    let outputs = reader.follow("pandas, from the zip").await;
    let (count, odometers) = outputs[0].split_once('\n').expect("two lines");
    assert_eq!(count, rows.to_string());
    let odometers: Value = serde_json::from_str(odometers).expect("JSON");
    for (vehicle, table) in &tables {
        assert_eq!(odometers[vehicle].as_f64(), Some(table.odo));
    }

    let outputs = reader.follow("DuckDB, from CSVs").await;
    let expected: Vec<String> =
        tables.iter().map(|(vehicle, table)| format!("{vehicle}.csv {} {}", table.rows, table.odo)).collect();
    assert_eq!(outputs[1].lines().collect::<Vec<_>>(), expected);
    let outputs = reader.follow("DuckDB, polars and pyarrow, from parquet").await;
    assert_eq!(outputs.len(), 4);
    for output in &outputs[1..] {
        assert_eq!(pair(output), all, "{output}");
    }
    let outputs = reader.follow("polars, from CSVs").await;
    assert_eq!(pair(&outputs[0]), all, "{outputs:?}");

    let outputs = reader.follow("Step by step with `exports`").await;
    assert!(
        outputs[0].contains("manifest.json") && outputs[0].contains("state      FINISHED"),
        "{outputs:?}"
    );

    reader.follow("Excel").await;
    excel(&reader).await;
    assert!(reader.left.is_empty(), "recipes that no test follows: {:?}", reader.left.keys());
    reader.stack.stop().await;
}

/// The recipes that check a result print the numbers of the files.
async fn checks(reader: &mut Reader, tables: &BTreeMap<String, Table>) {
    let outputs = reader.follow("Was everything copied?").await;
    for (vehicle, table) in tables {
        assert!(outputs[0].contains(&format!("{vehicle} {} {{'current': ", table.rows)), "{outputs:?}");
    }
    let outputs = reader.follow("Did the vehicle send everything?").await;
    for (vehicle, csv) in reader.csvs() {
        let hours = hours_with_data(&csv);
        assert!(hours > 0, "{vehicle}");
        let summary = format!("{vehicle} {hours} of 24 hours have data: ");
        assert!(outputs[0].lines().any(|line| line.starts_with(&summary)), "{summary}: {outputs:?}");
    }
    // It has two points, in one hour.
    let gaps = ["13 to 2018-12-01T00:00:00Z", "00 to 2018-11-30T12:00:00Z"];
    for (gap, hours) in gaps.into_iter().zip([11, 12]) {
        let (from, to) = gap.split_once(' ').expect("two");
        let line = format!("filename nothing for {hours} h: 2018-11-30T{from}:00:00Z {to}");
        assert!(outputs[0].lines().any(|found| found.ends_with(&line)), "{line}: {outputs:?}");
    }
    let outputs = reader.follow("Where are the gaps?").await;
    for (vehicle, csv) in reader.csvs() {
        let summary = format!("{vehicle}.csv {} gaps", gap_count(&csv));
        assert!(outputs[0].lines().any(|line| line == summary), "{summary}: {outputs:?}");
    }
}

/// The recipes that export again, and regularly.
async fn repeated(reader: &mut Reader) {
    let outputs = reader.follow("Into another program").await;
    let (rows, sum) = outputs[0].split_once('\n').expect("two lines");
    assert!(rows.parse::<u64>().is_ok_and(|rows| rows > 10_000), "{outputs:?}");
    let zip = fs::read(reader.folder.path().join("soc.zip")).expect("a zip");
    assert!(sum.starts_with(&sha256_hex(&zip)), "the same bytes: {outputs:?}");

    let outputs = reader.follow("Again, with a change").await;
    let jobs: Vec<&str> = outputs[0].lines().filter(|line| line.contains("step-ms 60000")).collect();
    let labels: Vec<bool> = jobs.iter().map(|line| line.ends_with("another day")).collect();
    assert_eq!(labels, [true, false], "{outputs:?}");
    assert!(jobs[0].contains("  speed  ") && jobs[1].ends_with("one day"), "{outputs:?}");

    let [nightly, weekly] = ["Every night", "Every week"].map(|name| crontab_command(&reader.left[name]));
    assert!(reader.follow("Every night").await.is_empty());
    let outputs = reader.follow("Every week").await;
    assert!(
        outputs[0].trim().strip_suffix(".zip").is_some() && outputs[0].lines().count() == 1,
        "{outputs:?}"
    );
    let listed = reader.stack.get("/export?limit=1").await.json()["exports"][0].clone();
    assert_eq!((&listed["label"], &listed["stepMs"]), (&Value::from("weekly"), &Value::from(60_000)), "once");
    let start = listed["startDate"].as_str().and_then(|text| text.parse::<chrono::NaiveDate>().ok());
    assert_eq!(start.expect("a day").weekday(), chrono::Weekday::Mon, "{listed}");
    let unit = fs::read_to_string(reader.folder.path().join("units/weekly-export.service")).expect("a unit");
    let started = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    for command in [&nightly, &weekly, started] {
        scheduled(reader, command).await;
    }
    assert_eq!(reader.follow("After an outage").await, [""], "nothing has failed");
}

/// The command of the only line of a crontab among these blocks.
fn crontab_command(blocks: &[(&str, String)]) -> String {
    let texts = blocks.iter().filter(|(language, _)| *language == NOT_RUN);
    let is_schedule = |line: &&str| line.starts_with(|character: char| character.is_ascii_digit());
    let lines: Vec<&str> = texts.flat_map(|(_, text)| text.lines()).filter(is_schedule).collect();
    let [line] = lines[..] else { panic!("{lines:?}") };
    assert!(!line.contains('%'), "cron ends the command there: {line}");
    line.splitn(6, ' ').last().expect("a command").trim().to_owned()
}

/// Runs the command of a schedule, with the folders of the page inside the reader's folder. It
/// writes a zip, and prints only that it has no data.
async fn scheduled(reader: &Reader, command: &str) {
    let (folder, url) = (reader.folder.path().to_owned(), reader.stack.api_url.clone());
    let data = folder.join("data");
    fs::create_dir_all(data.join("weekly")).expect("a folder");
    let here = folder.to_str().expect("UTF-8");
    let command = command.replace("/data/", &format!("{here}/data/"));
    let command = command.replace("/usr/local/bin/", &format!("{here}/"));
    let block = format!("{{ {command}; }} 2>&1");
    let output = tokio::task::spawn_blocking(move || run_block("sh", &block, &folder, &url)).await;
    let output = output.expect("it ran");
    assert!(output.lines().all(|line| line.starts_with("warning: ")), "{command}: {output}");
    assert!(output.contains("no vehicle has a value in the range"), "{command}: {output}");
    let files = [&data, &data.join("weekly")].map(|folder| fs::read_dir(folder).expect("a folder"));
    let files = files.into_iter().flatten().map(|file| file.expect("a file").path());
    let zips: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "zip")).collect();
    assert_eq!(zips.len(), 1, "{command}: {zips:?}");
    fs::remove_dir_all(data).expect("removable");
}

/// The workbook has a sheet per vehicle, a row per minute, times as times and numbers as numbers.
async fn excel(reader: &Reader) {
    let look = r#"
import openpyxl
book = openpyxl.load_workbook("minutes.xlsx", read_only=True)
for sheet in book:
    rows = list(sheet.iter_rows(values_only=True))
    times = [row[0] for row in rows[1:]]
    odo = rows[0].index("odo")
    print(sheet.title, len(times), times[0].isoformat(), max(row[odo] or 0 for row in rows[1:]))
"#;
    let (folder, url) = (reader.folder.path().to_owned(), reader.stack.api_url.clone());
    let output =
        tokio::task::spawn_blocking(move || run_block("python", look, &folder, &url)).await.expect("read");
    let tables = reader.tables();
    assert_eq!(output.lines().count(), tables.len(), "{output}");
    for (line, (vehicle, _)) in output.lines().zip(&tables) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], vehicle);
        let rows: usize = words[1].parse().expect("a count");
        // A day in Amsterdam begins an hour before the data.
        assert!((1_300..=1_380).contains(&rows), "{line}");
        assert!(words[2].starts_with("2018-11-30T01:"), "{line}");
        assert!(words[3].parse::<f64>().is_ok_and(|odo| odo > 0.0), "{line}");
    }
}
