//! The result of an export, onto the disk.

use std::fs::File;
use std::path::Path;

use export_core::JobId;
use indicatif::{BinaryBytes, ProgressBar};

use super::destination::{Destination, folder_of};
use super::error::ClientError;
use super::job::{Job, State};
use super::objects;
use super::send::Client;
use super::transfer::{Wanted, fetch};

const BAR: &str = "{bar:24} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// Downloads the result of a finished export; returns what is there then, for people.
pub(crate) async fn download(
    client: &Client,
    job: &Job,
    destination: &Destination,
) -> anyhow::Result<String> {
    job.require_no_bad_end()?;
    let stats = job.stats.as_ref().filter(|_| job.state == State::Finished);
    let Some(stats) = stats else {
        anyhow::bail!("the export {} {}; wait for it with --wait", job.id, job.state.told());
    };
    let path = destination.of(job.id)?;
    let bar = client.console.bar(stats.bytes, BAR);
    let _cleared = Cleared(&bar);
    let sha256 = Some(stats.sha256.as_str()).filter(|sha256| !sha256.is_empty());
    if destination.is_folder() {
        objects::fetch_all(client, job.id, sha256, &path, destination.may_replace, &bar).await?;
    } else {
        let wanted = Wanted { export: job.id, object: None, bytes: stats.bytes, sha256 };
        let mut part = fetch(client, &wanted, &path, &bar).await?;
        part.rename(&path, destination.may_replace)?;
        sync(folder_of(&path));
    }
    let checked = match (destination.is_folder(), sha256) {
        (true, _) => "checked against the manifest",
        (false, Some(_)) => "SHA-256 checked",
        (false, None) => "size checked",
    };
    Ok(format!("{}: {}, {checked}", path.display(), BinaryBytes(stats.bytes)))
}

/// The message for who is interrupted while a download is on its way.
pub(crate) fn interrupted(id: JobId) -> ClientError {
    ClientError::Interrupted(format!(
        "what was downloaded is kept; `exports download {id}` with the same file goes on there"
    ))
}

/// Lets the names in a folder survive a power failure. File systems that cannot do it do not fail for it: the files are whole.
pub(super) fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}

/// Takes a bar off the terminal whatever happens.
struct Cleared<'a>(&'a ProgressBar);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
