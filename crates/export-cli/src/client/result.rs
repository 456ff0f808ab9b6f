//! Downloads the result of an export.

use export_core::JobId;
use export_core::job::JobState;
use indicatif::BinaryBytes;

use super::destination::Destination;
use super::error::ClientError;
use super::job::Job;
use super::objects;
use super::send::Client;
use super::transfer::{Wanted, fetch};
use crate::output_path::{OutputKind, folder_of, sync_folder};

const BAR: &str = "{bar:24} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// Downloads and verifies the result of a finished export. Returns a line that says what was
/// written.
pub(crate) async fn download(
    client: &Client,
    job: &Job,
    destination: &Destination,
) -> anyhow::Result<String> {
    job.require_no_bad_end()?;
    let stats = job.stats.as_ref().filter(|_| job.state == JobState::Finished);
    let Some(stats) = stats else {
        anyhow::bail!("the export {} {}; wait for it with --wait", job.id, job.state.predicate());
    };
    let path = destination.path_for(job.id)?;
    let bar = client.console.bar(stats.bytes, BAR);
    let sha256 = Some(stats.sha256.as_str()).filter(|sha256| !sha256.is_empty());
    if destination.kind == OutputKind::Folder {
        objects::fetch_all(client, job.id, sha256, &path, destination.may_replace, &bar).await?;
    } else {
        let wanted = Wanted { export: job.id, object: None, bytes: stats.bytes, sha256 };
        let mut part = fetch(client, &wanted, &path, &bar).await?;
        part.rename(&path, destination.may_replace)?;
        sync_folder(folder_of(&path));
    }
    let verified = match (destination.kind, sha256) {
        (OutputKind::Folder, _) => "verified against the manifest",
        (OutputKind::File, Some(_)) => "SHA-256 verified",
        (OutputKind::File, None) => "size verified",
    };
    Ok(format!("{}: {}, {verified}", path.display(), BinaryBytes(stats.bytes)))
}

/// The error if the program is interrupted during a download.
pub(crate) fn download_interrupted(id: JobId) -> ClientError {
    ClientError::Interrupted(format!(
        "the bytes downloaded so far are kept; `exports download {id}` with the same file resumes"
    ))
}
