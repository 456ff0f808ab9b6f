//! Compares an archive with the reference export of the same range, straight from the database.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveTime};
use export_testkit::reference::{ReferenceRequest, export_database};
use export_testkit::verify;
use mongodb::Client;

/// Compare a downloaded archive, byte for byte, with the reference exporter's output.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The archive.
    zip: PathBuf,
    /// Start of the range: YYYY-MM-DD (UTC) or an RFC 3339 instant.
    #[arg(long, value_parser = unix_ms)]
    from: i64,
    /// End of the range, not in it.
    #[arg(long, value_parser = unix_ms)]
    to: i64,
    /// What the vehicles' databases start with.
    #[arg(long, env = "VEHICLE_DATABASE_PREFIX", default_value = "vehicle_")]
    vehicle_database_prefix: String,
    /// Vehicles that were asked for, by database name; all without.
    #[arg(long = "vehicle")]
    vehicles: Vec<String>,
    /// Parameters that were asked for, in their order; all without.
    #[arg(long = "parameter")]
    parameters: Vec<String>,
    /// The vehicles' database server.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
}

/// Prints the archive's listing when it is equal, and fails with the differences when not.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let request = ReferenceRequest {
        from_ms: arguments.from,
        to_ms: arguments.to,
        vehicles: Some(arguments.vehicles).filter(|vehicles| !vehicles.is_empty()),
        parameters: Some(arguments.parameters).filter(|parameters| !parameters.is_empty()),
    };
    let path = arguments.zip.display();
    let zip = File::open(&arguments.zip).with_context(|| format!("cannot open {path}"))?;
    let client = Client::with_uri_str(&arguments.mongodb_uri).await.context("MONGODB_URI cannot be used")?;
    let expected = export_database(&client, &arguments.vehicle_database_prefix, &request)
        .await
        .context("the vehicles cannot be read")?;

    let listing = match verify::compare(BufReader::new(zip), &request, &expected) {
        Ok(listing) => listing,
        Err(differences) => bail!("{path} differs from the reference export:\n{differences}"),
    };
    let rows: u64 = expected.vehicles.iter().map(|vehicle| vehicle.rows).sum();
    let mut stdout = std::io::stdout();
    write!(stdout, "{listing}")?;
    writeln!(
        stdout,
        "\n{path} equals the reference export byte for byte: {} vehicles, {rows} rows, manifest included.",
        expected.vehicles.len()
    )?;
    Ok(())
}

fn unix_ms(text: &str) -> Result<i64, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.timestamp_millis());
    }
    let date =
        text.parse::<NaiveDate>().map_err(|_| "neither YYYY-MM-DD nor an RFC 3339 instant".to_owned())?;
    Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}
