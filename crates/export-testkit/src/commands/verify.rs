//! Compares a result with the reference export of the same range, which reads the database itself.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveTime};
use export_testkit::reference::{
    ReferenceArchive, ReferenceFormat, ReferenceOptions, ReferenceRequest, export_database,
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
    options: ReferenceOptions,
    /// The vehicles' database server.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
}

/// Prints the result's listing when it is equal; otherwise fails with the differences.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let request = ReferenceRequest {
        from_ms: arguments.from,
        to_ms: arguments.to,
        vehicles: Some(arguments.vehicles).filter(|vehicles| !vehicles.is_empty()),
        parameters: Some(arguments.parameters).filter(|parameters| !parameters.is_empty()),
        options: arguments.options,
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

fn unix_ms(text: &str) -> Result<i64, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.timestamp_millis());
    }
    let date =
        text.parse::<NaiveDate>().map_err(|_| "neither YYYY-MM-DD nor an RFC 3339 instant".to_owned())?;
    Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}
