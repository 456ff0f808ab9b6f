//! Compares a result with the reference export of the same range, which reads the database itself.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveTime};
use chrono_tz::Tz;
use export_testkit::reference::{
    ReferenceArchive, ReferenceCompression, ReferenceFormat, ReferenceOptions, ReferenceRequest,
    ReferenceTimeFormat, export_database,
};
use export_testkit::verify;
use mongodb::Client;

/// Compare a downloaded result with the reference exporter's output: CSVs byte for byte, parquet
/// files cell by cell.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The zip, or the folder with the objects of an export without archive.
    result: PathBuf,
    /// Start of the range: YYYY-MM-DD (UTC) or an RFC 3339 instant.
    #[arg(long, value_parser = unix_ms)]
    from: i64,
    /// End of the range, not in it.
    #[arg(long, value_parser = unix_ms)]
    to: i64,
    /// Prefix of the vehicles' databases.
    #[arg(long, env = "VEHICLE_DATABASE_PREFIX", default_value = "vehicle_")]
    vehicle_database_prefix: String,
    /// Vehicles that were asked for, by database name; all without.
    #[arg(long = "vehicle")]
    vehicles: Vec<String>,
    /// Parameters that were asked for, in their order; all without.
    #[arg(long = "parameter")]
    parameters: Vec<String>,
    #[command(flatten)]
    output: Output,
    /// The vehicles' database server.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
}

/// The output options, by the names and with the defaults of a request.
#[derive(Debug, clap::Args)]
struct Output {
    /// How rows are written.
    #[arg(long, value_enum, default_value = "csv")]
    format: ReferenceFormat,
    /// How the files are packed.
    #[arg(long, value_enum, default_value = "zip")]
    archive: ReferenceArchive,
    /// How CSVs outside of a zip are compressed.
    #[arg(long, value_enum, default_value = "gzip")]
    compression: ReferenceCompression,
    /// How a CSV writes times.
    #[arg(long, value_enum, default_value = "unix_ms")]
    time_format: ReferenceTimeFormat,
    /// IANA zone of RFC 3339 times. Does not change how --from and --to are read.
    #[arg(long, default_value = "UTC", value_parser = zone)]
    timezone: String,
    /// Strings were not guarded against being taken for formulas.
    #[arg(long)]
    without_csv_guard: bool,
    /// Length of an interval in milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    step_ms: Option<u64>,
    /// Intervals show the last value known.
    #[arg(long, requires = "step_ms")]
    fill_previous: bool,
}

impl From<Output> for ReferenceOptions {
    fn from(output: Output) -> Self {
        Self {
            format: output.format,
            archive: output.archive,
            compression: output.compression,
            time_format: output.time_format,
            timezone: output.timezone,
            guard: !output.without_csv_guard,
            step_ms: output.step_ms,
            fill_previous: output.fill_previous,
        }
    }
}

/// Prints the result's listing when it is equal; otherwise fails with the differences.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let request = ReferenceRequest {
        from_ms: arguments.from,
        to_ms: arguments.to,
        vehicles: Some(arguments.vehicles).filter(|vehicles| !vehicles.is_empty()),
        parameters: Some(arguments.parameters).filter(|parameters| !parameters.is_empty()),
        options: arguments.output.into(),
    };
    let path = arguments.result.display();
    let result = Opened::open(&arguments.result, request.options.archive)
        .with_context(|| format!("cannot open {path}"))?;
    let client = Client::with_uri_str(&arguments.mongodb_uri).await.context("MONGODB_URI cannot be used")?;
    let expected = export_database(&client, &arguments.vehicle_database_prefix, &request)
        .await
        .context("the vehicles cannot be read")?;

    let compared = match result {
        Opened::Zip(zip) => verify::compare(zip, &request, &expected),
        Opened::Objects(objects) => verify::compare_objects(&objects, &request, &expected),
    };
    let listing = match compared {
        Ok(listing) => listing,
        Err(differences) => bail!("{path} differs from the reference export:\n{differences}"),
    };
    let rows: u64 = expected.vehicles.iter().map(|vehicle| vehicle.rows).sum();
    let mut stdout = std::io::stdout();
    write!(stdout, "{listing}")?;
    writeln!(
        stdout,
        "\n{path} equals the reference export {}: {} vehicles, {rows} rows, manifest included.",
        match request.options.format {
            ReferenceFormat::Csv => "byte for byte",
            ReferenceFormat::Parquet => "cell by cell",
        },
        expected.vehicles.len()
    )?;
    Ok(())
}

/// The result, opened before the long work begins.
enum Opened {
    Zip(BufReader<File>),
    Objects(Vec<(String, Vec<u8>)>),
}

impl Opened {
    fn open(path: &Path, archive: ReferenceArchive) -> io::Result<Self> {
        match archive {
            ReferenceArchive::Zip => File::open(path).map(BufReader::new).map(Self::Zip),
            ReferenceArchive::None => verify::read_folder(path).map(Self::Objects),
        }
    }
}

fn zone(text: &str) -> Result<String, String> {
    let zone: Result<Tz, _> = text.parse();
    zone.map(|zone| zone.name().to_owned()).map_err(|_| "no IANA time zone".to_owned())
}

fn unix_ms(text: &str) -> Result<i64, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.timestamp_millis());
    }
    let date =
        text.parse::<NaiveDate>().map_err(|_| "neither YYYY-MM-DD nor an RFC 3339 instant".to_owned())?;
    Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}
