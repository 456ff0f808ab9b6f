//! The path of a download, checked before any work is done.

use std::path::{Path, PathBuf};

use export_core::JobId;

use super::error::ClientError;
use crate::output_path::{OutputKind, require_free};
use crate::stdout_file::{is_stdout, require_stdout};

/// Where a result is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    path: Option<PathBuf>,
    pub(super) kind: OutputKind,
    pub(super) may_replace: bool,
    /// The flag that the path was given with.
    flag: &'static str,
}

impl Destination {
    /// Fails if the result cannot be written there, or if something is there that must not be
    /// replaced. Without a path the result is named after the export's id, in the current folder.
    pub(crate) fn check(
        path: Option<PathBuf>,
        kind: OutputKind,
        may_replace: bool,
        flag: &'static str,
    ) -> anyhow::Result<Self> {
        let destination = Self { path, kind, may_replace, flag };
        if destination.is_stdout() {
            require_stdout(kind, flag)?;
        } else if let Some(path) = &destination.path
            && !destination.is_folder_for_zip(path)
        {
            require_free(path, kind, may_replace, flag)?;
        }
        Ok(destination)
    }

    /// Whether the result is written to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        self.path.as_deref().is_some_and(is_stdout)
    }

    /// The path for this export, which is free or may be replaced.
    pub(super) fn path_for(&self, id: JobId) -> anyhow::Result<PathBuf> {
        let name = match self.kind {
            OutputKind::File => format!("{id}.zip"),
            OutputKind::Folder => id.to_string(),
        };
        let path = match &self.path {
            None => PathBuf::from(name),
            Some(path) if self.is_folder_for_zip(path) => path.join(name),
            Some(path) => path.clone(),
        };
        require_free(&path, self.kind, self.may_replace, self.flag)?;
        Ok(path)
    }

    fn is_folder_for_zip(&self, path: &Path) -> bool {
        self.kind == OutputKind::File && path.is_dir()
    }

    /// The error if the program is interrupted during a download to this destination.
    pub(crate) fn interrupted(&self, id: JobId) -> ClientError {
        ClientError::Interrupted(if self.is_stdout() {
            format!(
                "standard output may have a part of the zip; `exports download {id}` downloads the result"
            )
        } else {
            format!(
                "the bytes downloaded so far are kept; `exports download {id}` with the same file resumes"
            )
        })
    }
}
