//! Downloads the result of an export.

use std::path::Path;

use export_core::job::JobState;
use indicatif::BinaryBytes;

use super::destination::Destination;
use super::job::Job;
use super::objects;
use super::send::Client;
use super::transfer::{Wanted, fetch};
use crate::output_path::{OutputKind, folder_of, sync_folder};
use crate::stdout_file::StdoutFile;

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
    let sha256 = Some(stats.sha256.as_str()).filter(|sha256| !sha256.is_empty());
    let is_resumable = !destination.is_stdout();
    let wanted = Wanted { export: job.id, object: None, bytes: stats.bytes, sha256, is_resumable };
    let target = if destination.is_stdout() {
        let file = StdoutFile::new()?;
        download_zip(client, &wanted, &file.path(), false).await?;
        file.send().await?;
        "standard output".to_owned()
    } else {
        let path = destination.path_for(job.id)?;
        if destination.kind == OutputKind::Folder {
            let bar = client.console.transfer_bar(stats.bytes);
            objects::fetch_all(client, job.id, sha256, &path, destination.may_replace, &bar).await?;
        } else {
            download_zip(client, &wanted, &path, destination.may_replace).await?;
            sync_folder(folder_of(&path));
        }
        path.display().to_string()
    };
    let verified = match (destination.kind, sha256) {
        (OutputKind::Folder, _) => "verified against the manifest",
        (OutputKind::File, Some(_)) => "SHA-256 verified",
        (OutputKind::File, None) => "size verified",
    };
    Ok(format!("{target}: {}, {verified}", BinaryBytes(stats.bytes)))
}

async fn download_zip(
    client: &Client,
    wanted: &Wanted<'_>,
    path: &Path,
    may_replace: bool,
) -> anyhow::Result<()> {
    let bar = client.console.transfer_bar(wanted.bytes);
    fetch(client, wanted, path, &bar).await?.rename(path, may_replace)
}
