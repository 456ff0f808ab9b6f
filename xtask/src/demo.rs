//! `cargo xtask demo`: one export from end to end on real services, with a comparison of its result
//! with the reference exporter.

mod progress;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::endpoints::Service;
use crate::layout::Layout;
use crate::settings::Settings;
use crate::stack::{self, Members, Stack, Wanted};
use crate::{background, cli, console, foreground, http, wait};

/// First day of the synthetic fleet, the last of a month: its `n`th next day is the `n`th of
/// December.
const FIRST_DAY: &str = "2018-11-30";
/// Time limit for writing a month of a large fleet.
const FLEET_LIMIT: Duration = Duration::from_mins(30);
/// Time limit of the export.
const EXPORT_LIMIT: Duration = Duration::from_mins(30);
/// Time limit of the comparison; the reference exporter holds everything in memory.
const VERIFY_LIMIT: Duration = Duration::from_mins(30);
/// Seed of the synthetic fleet, the same in every run.
const SEED: &str = "1";
/// Prefix of the synthetic fleet's databases in a given MongoDB, to keep them apart from existing
/// vehicles.
const PREFIX_IN_GIVEN_DATABASE: &str = "demo_vehicle_";
const PREFIX_VARIABLE: &str = "VEHICLE_DATABASE_PREFIX";
/// The setting for the vehicles' database, if it is not the jobs' one.
const SOURCE_VARIABLE: &str = "SOURCE_MONGODB_URI";

/// Runs the demo. With `--once`, ends everything that it started, even after a failure.
pub(crate) fn run(arguments: &cli::Demo) -> anyhow::Result<()> {
    let layout = Layout::find()?;
    let settings = Settings::read(&layout)?;
    let mut started = Vec::new();
    let result = demonstrate(layout.clone(), &settings, arguments, &mut started);
    if arguments.once && !started.is_empty() {
        console::step(format!("stopping what this run started: {}", started.join(", ")));
        let ended = stack::down::only(&layout, &started);
        result.and(ended)
    } else {
        result.inspect(|()| console::step("the stack keeps running; `cargo xtask down` stops it"))
    }
}

fn demonstrate(
    layout: Layout,
    settings: &Settings,
    arguments: &cli::Demo,
    started: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut extra = Vec::new();
    let is_foreign = Service::Mongodb.is_given(settings) || settings.is_given(SOURCE_VARIABLE);
    if is_foreign && settings.get(PREFIX_VARIABLE).is_none() {
        console::step(format!(
            "the vehicles' MongoDB is given: the synthetic vehicles are named {PREFIX_IN_GIVEN_DATABASE}001 and so on"
        ));
        extra.push((PREFIX_VARIABLE.to_owned(), PREFIX_IN_GIVEN_DATABASE.to_owned()));
    }
    let stack =
        stack::up(layout, settings, &arguments.stack, &Wanted { extra, ..Wanted::default() }, started)?;
    write_fleet(&stack, arguments)?;
    let end = format!("2018-12-{:02}", arguments.days);
    let job_url = post(&stack, &end)?;
    follow(&stack, &job_url).map_err(|error| with_logs(error, &stack))?;
    let zip = download(&stack, &job_url).map_err(|error| with_logs(error, &stack))?;
    verify(&stack, settings, &zip, &end)?;
    console::step("the result equals the reference exporter's");
    console::detail("zip", zip.display().to_string());
    console::detail("job", job_url);
    console::detail("API", stack.api_url());
    Ok(())
}

fn write_fleet(stack: &Stack, arguments: &cli::Demo) -> anyhow::Result<()> {
    let (vehicles, days) = (arguments.vehicles.to_string(), arguments.days.to_string());
    console::step(format!("writing a synthetic fleet: {vehicles} vehicles, {days} days from {FIRST_DAY}"));
    let mut command = stack.command(&stack.programs.cli);
    command.args(["demo", "--vehicles", &vehicles, "--days", &days, "--from", FIRST_DAY, "--seed", SEED]);
    foreground::run_logged(&mut command, FLEET_LIMIT, &stack.layout.stack().log("demo-fleet"), "exports demo")
}

fn post(stack: &Stack, end: &str) -> anyhow::Result<String> {
    let url = format!("{}/export", stack.api_url());
    // The fleet was just written, and an earlier demo may have exported another one.
    let body = json!({ "startDate": FIRST_DAY, "endDate": end, "fresh": true });
    console::step(format!("POST {url} {body}"));
    let (location, job) = http::post(&url, &body).map_err(|error| with_logs(error, stack))?;
    let id = job["_id"].as_str().context("the answer has no _id")?;
    ensure!(location.ends_with(&format!("/export/{id}")), "Location {location} does not name the job {id}");
    // Use this address, because `Location` may have a public one.
    Ok(format!("{url}/{id}"))
}

/// Waits for the end of the export, showing its progress.
fn follow(stack: &Stack, job_url: &str) -> anyhow::Result<()> {
    let mut display = progress::Display::new();
    let instance = stack.layout.stack();
    let job = wait::until(
        EXPORT_LIMIT,
        || format!("{job_url} was not finished"),
        || {
            for part in Members::PARTS {
                background::check_alive(&instance, part)?;
            }
            let job = http::get(job_url)?;
            display.show(&job);
            let is_over =
                matches!(job["state"].as_str(), Some("FINISHED" | "FAILED" | "CANCELLED" | "EXPIRED"));
            Ok(is_over.then_some(job))
        },
    )?;
    display.finish();
    if job["state"] != "FINISHED" {
        bail!("the export ended as {}: {}", text(&job["state"]), job["error"]);
    }
    console::detail("exportUri", text(&job["exportUri"]));
    Ok(())
}

fn download(stack: &Stack, job_url: &str) -> anyhow::Result<PathBuf> {
    let folder = stack.layout.stack().dir.join("demo");
    fs::create_dir_all(&folder)?;
    let id = job_url.rsplit('/').next().unwrap_or("export");
    let path = folder.join(format!("{id}.zip"));
    console::step(format!("GET {job_url}/download"));
    let body = http::download(&format!("{job_url}/download"))?;
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    let byte_count = io::copy(&mut body.into_reader(), &mut file)?;
    console::detail("downloaded", format!("{byte_count} bytes"));
    Ok(path)
}

/// Compares the archive with the reference exporter, which prints its listing and first rows.
fn verify(stack: &Stack, settings: &Settings, zip: &Path, end: &str) -> anyhow::Result<()> {
    console::step("comparing it with the reference exporter");
    let mut command = stack.command(&stack.programs.testkit);
    // A given server may be configured by a file, or be another one than the jobs' server.
    if let Some(uri) = settings.secret(SOURCE_VARIABLE)?.or(settings.secret("MONGODB_URI")?) {
        command.env("MONGODB_URI", uri);
    }
    command.arg("verify").arg(zip).args(["--from", FIRST_DAY, "--to", end]);
    let status = foreground::run(&mut command, VERIFY_LIMIT)?;
    ensure!(status.success(), "{} differs from the reference exporter's result", zip.display());
    Ok(())
}

/// Adds the last lines of the API's and the worker's logs to an error.
fn with_logs(error: anyhow::Error, stack: &Stack) -> anyhow::Error {
    let instance = stack.layout.stack();
    let tails = Members::PARTS.map(|part| console::tail(&instance.log(part)));
    error.context(format!("{}\nthe export did not succeed", tails.join("\n")))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
