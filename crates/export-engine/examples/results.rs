//! Writes results of the engine into a folder, for other programs to open: `cargo xtask readers`
//! runs it.
//!
//! By default small fleets with every kind of cell, once per set of output options:
//! `<fleet>/<output>/<file>`. With `--long` or `--many` a zip that needs ZIP64, `<long or
//! many>/export.zip`: an entry of more than 4 GiB, or more than 65,535 entries.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use bson::Document;
use export_core::request::ExportRequest;
use export_core::sink::{Sink, SinkFactory};
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{DumpSource, Engine, ExportTask, Limits, MemoryBudget, Meter, StopFlag, plan};
use export_fleet::FleetSpec;
use export_testkit::dump::write_dump;
use export_testkit::hour::HourBuilder;
use export_testkit::oddities::{self, OddVehicle};
use export_testkit::reference::SourceVehicle;
use serde_json::{Value, json};

const PREFIX: &str = "vehicle_";
/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;

/// More than the 65,535 entries of a zip without ZIP64.
const MANY_VEHICLES: usize = 70_000;
/// Length of the text that every row of the long entry repeats. With a row for each millisecond of
/// 90 minutes the entry is larger than the 4 GiB of a zip without ZIP64.
const LONG_TEXT_BYTES: usize = 1_000;

/// By folder: the output options.
fn outputs() -> [(&'static str, Value); 10] {
    [
        ("zip", json!({})),
        ("csv", json!({ "archive": "none", "compression": "none" })),
        ("gzip", json!({ "archive": "none", "compression": "gzip" })),
        ("zstd", json!({ "archive": "none", "compression": "zstd" })),
        (
            "local",
            json!({
                "archive": "none", "compression": "none", "timeFormat": "rfc3339", "timezone": "Europe/Amsterdam"
            }),
        ),
        ("unguarded", json!({ "archive": "none", "compression": "none", "csvGuard": "off" })),
        ("parquet", json!({ "archive": "none", "format": "parquet" })),
        ("parquet_zip", json!({ "format": "parquet" })),
        (
            "filled",
            json!({
                "archive": "none", "compression": "none", "csvGuard": "off", "stepMs": 60_000, "fill": "previous"
            }),
        ),
        (
            "filled_parquet",
            json!({ "archive": "none", "format": "parquet", "stepMs": 60_000, "fill": "previous" }),
        ),
    ]
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().context("usage: results FOLDER [--long | --many]")?);
    let engine = Engine::new(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))?;
    match arguments.next().as_deref().and_then(|flag| flag.to_str()) {
        None => small(&engine, &folder),
        Some("--long") => measured("long", || long(&engine, &folder)),
        Some("--many") => measured("many", || many(&engine, &folder)),
        Some(other) => bail!("unknown argument {other}"),
    }
}

fn small(engine: &Engine, folder: &Path) -> anyhow::Result<()> {
    for (fleet, vehicles) in [("odd", odd()), ("values", values()), ("names", names()), ("dense", dense()?)] {
        let dump = folder.join(fleet).join("dump");
        write_dump(&dump, &vehicles, false)?;
        let source = DumpSource::open(&dump, PREFIX)?;
        for (name, output) in outputs() {
            let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
            for (field, value) in output.as_object().into_iter().flatten() {
                body[field] = value.clone();
            }
            // The zone is for the text of times only: the range does not change.
            if body.get("timezone").is_some() {
                body["startDate"] = json!("2018-11-30T00:00:00Z");
                body["endDate"] = json!("2018-12-01T00:00:00Z");
            }
            export(engine, &source, &body, &folder.join(fleet).join(name))?;
        }
    }
    Ok(())
}

fn many(engine: &Engine, folder: &Path) -> anyhow::Result<()> {
    let vehicles = Nothing(
        (0..MANY_VEHICLES).map(|number| format!("{PREFIX}{number:05}").parse()).collect::<Result<_, _>>()?,
    );
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    export(engine, &vehicles, &body, &folder.join("many"))
}

fn long(engine: &Engine, folder: &Path) -> anyhow::Result<()> {
    let text = "x".repeat(LONG_TEXT_BYTES);
    let hour = HourBuilder::new(DAY_MS).point(DAY_MS, text.as_str()).build();
    let vehicle = SourceVehicle {
        database: format!("{PREFIX}001"),
        collections: [("text".to_owned(), vec![hour.into()])].into(),
    };
    let dump = folder.join("dump");
    write_dump(&dump, &[vehicle], false)?;
    let source = DumpSource::open(&dump, PREFIX)?;
    let body = json!({
        "startDate": "2018-11-30T00:00:00Z", "endDate": "2018-11-30T01:30:00Z", "stepMs": 1, "fill": "previous"
    });
    export(engine, &source, &body, &folder.join("long"))
}

/// Runs and prints time and memory.
fn measured(what: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let started = Instant::now();
    run()?;
    let seconds = started.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("unknown", str::trim);
    writeln!(io::stdout(), "  written    {what}: {seconds:.1} s, most memory {peak}")?;
    Ok(())
}

/// Writes one result into the folder.
fn export(engine: &Engine, source: &dyn Source, body: &Value, folder: &Path) -> anyhow::Result<()> {
    let request = ExportRequest::parse(body).map_err(|errors| anyhow!("{errors:?}"))?;
    let plan = plan(&request, source)?;
    let budget = MemoryBudget::shared_by(MemoryBudget::DEFAULT_MIB << 20, NonZeroUsize::MIN);
    let limits = Limits::of_share(budget.slices_bytes, engine.threads());
    let (meter, stop) = (Meter::default(), StopFlag::default());
    let task = ExportTask { plan: &plan, source, limits, meter: &meter, stop: &stop };
    engine.export(&task, &mut Folders(folder)).with_context(|| folder.display().to_string())?;
    Ok(())
}

/// Creates the folder for each pass, and removes it when the pass fails.
struct Folders<'a>(&'a Path);

impl SinkFactory for Folders<'_> {
    type Sink = Folder;

    fn open(&mut self) -> io::Result<Folder> {
        fs::create_dir_all(self.0)?;
        Ok(Folder { path: self.0.to_owned(), file: None })
    }

    fn discard(&mut self, _sink: Folder) {
        // If this fails, the next pass fails to create its files.
        fs::remove_dir_all(self.0).ok();
    }
}

/// Objects as files.
struct Folder {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Sink for Folder {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        self.file = Some(BufWriter::new(File::create_new(self.path.join(name))?));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    fn end(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |mut file| file.flush())
    }
}

/// Vehicles without data.
struct Nothing(Vec<VehicleId>);

impl Source for Nothing {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        Ok(self.0.clone())
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        Ok(vec![Vec::new(); vehicles.len()])
    }

    fn open<'a>(
        &'a self,
        _vehicle: &VehicleId,
        _parameter: &Parameter,
        _documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        Err(SourceError::new(io::Error::from(io::ErrorKind::NotFound)))
    }
}

/// The oddities of real data.
fn odd() -> Vec<SourceVehicle> {
    let stored = |vehicle: &OddVehicle| {
        let collections = vehicle.collections.iter();
        SourceVehicle {
            database: format!("{PREFIX}{}", vehicle.suffix),
            collections: collections
                .map(|(name, hours)| ((*name).to_owned(), hours.iter().cloned().map(Into::into).collect()))
                .collect(),
        }
    };
    oddities::one_day().vehicles.iter().map(stored).collect()
}

/// Texts that readers may misinterpret.
const TEXTS: [&str; 68] = [
    "",
    "NULL",
    "null",
    "NA",
    "N/A",
    "nan",
    "NaN",
    "None",
    "-",
    "\\N",
    "\\",
    "true",
    "007",
    "1,5",
    "1e5",
    " ",
    " lead",
    "trail ",
    "\t",
    "\r",
    "\r\n",
    "\n",
    "two\nlines",
    "\"",
    "\"\"",
    "a\"b",
    "'",
    "''",
    "=1+1",
    "+1",
    "-1",
    "@x",
    ",",
    ";",
    "a,b",
    "|",
    "ток 電流 🚌",
    "e\u{301}",
    "\u{feff}",
    "2018-11-30",
    "#",
    "# no comment",
    "a\0b",
    "\0",
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
    "a\rb",
    "x;=1+1",
    "x\t=1+1",
    "x|=1+1",
    "x\n=1+1",
    "x;\"=1+1",
    "x; =1+1",
    "＝1+1",
    "\u{1}=1+1",
    "-5.5",
    "-33.86|151.21",
    "52.1, -4.3",
    "+31 6 1234",
    "1;-5",
];

/// Values that readers may misinterpret, in columns whose names need quotes, of a vehicle whose
/// name is not ASCII.
fn values() -> Vec<SourceVehicle> {
    let numbers = [
        0.0,
        -0.0,
        1.0,
        0.1,
        0.1 + 0.2,
        -408.3,
        1e-7,
        1.5e300,
        5e-324,
        f64::MAX,
        f64::MIN,
        1e15,
        1e16,
        9_007_199_254_740_993.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let decimals = ["1.50", "-0", "1E+20", "0.0000001", "1.234567890123456789012345678901234"];
    let spread = |values: Vec<bson::Bson>| {
        let points = (0..).zip(values).map(|(number, value)| (DAY_MS + number * 500, value));
        vec![HourBuilder::new(DAY_MS).points(points).build().into()]
    };
    let collections: BTreeMap<String, Vec<_>> = [
        ("soc", numbers.into_iter().map(Into::into).collect()),
        ("a,b", TEXTS.into_iter().map(Into::into).collect()),
        ("say \"hi\"", vec![true.into(), false.into(), bson::Bson::Null]),
        (
            "p.q",
            decimals
                .into_iter()
                .map(|text| bson::Bson::Decimal128(text.parse().expect("a number")))
                .collect(),
        ),
        ("two\nlines", vec![i64::MAX.into(), i64::MIN.into(), 9_007_199_254_740_993_i64.into(), 7.into()]),
        ("ток", vec![(1_i64 << 53).into(), (-(1_i64 << 53)).into(), 0_i64.into()]),
    ]
    .into_iter()
    .map(|(name, values): (&str, Vec<bson::Bson>)| (name.to_owned(), spread(values)))
    .collect();
    let vehicle =
        |name: &str| SourceVehicle { database: format!("{PREFIX}{name}"), collections: collections.clone() };
    vec![
        vehicle("Bus_ü_電"),
        SourceVehicle { database: format!("{PREFIX}empty"), ..SourceVehicle::default() },
        vehicle("values"),
    ]
}

/// Names that are equal for some programs or file systems, that look like formulas, or that Windows
/// does not accept.
fn names() -> Vec<SourceVehicle> {
    let long = "p".repeat(200);
    let parameters = [
        "time",
        "TIME",
        "soc",
        "SOC",
        " soc",
        "straße",
        "STRASSE",
        "é",
        "e\u{301}",
        "=1+1",
        "x;=1+1",
        "-5",
        "tab\tname",
        "\u{1a}",
        "a\u{2028}b",
        &long,
    ];
    let collections = parameters.map(|name| {
        let points = (0..3).map(|second| (DAY_MS + second * 1_000, second));
        (name.to_owned(), vec![HourBuilder::new(DAY_MS).points(points).build().into()])
    });
    let vehicle = |name: &str| SourceVehicle {
        database: format!("{PREFIX}{name}"),
        collections: collections.clone().into(),
    };
    ["BUS", "bus", "a:b", "a?b", "é", "e\u{301}"].map(vehicle).into()
}

/// Real densities, so that files have many blocks and row groups.
fn dense() -> anyhow::Result<Vec<SourceVehicle>> {
    let spec = FleetSpec {
        seed: 7,
        vehicles: 2,
        first_hour_ms: DAY_MS,
        hours: 20,
        vehicle_prefix: PREFIX.to_owned(),
        oddities: false,
        rhythm: export_fleet::Rhythm::Paired,
    };
    let stored = spec.vehicles().map(|vehicle| {
        let mut stored =
            SourceVehicle { database: vehicle.database().to_owned(), ..SourceVehicle::default() };
        for part in vehicle.hours().flat_map(|hour| hour.documents) {
            let document = Document::try_from(&part.document)?;
            stored.collections.entry(part.parameter.to_owned()).or_default().push(document.into());
        }
        Ok(stored)
    });
    stored.collect()
}
