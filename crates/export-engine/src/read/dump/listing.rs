//! Which collections the files of one vehicle's folder hold, and which paths are no part of a dump.
//!
//! `mongodump` escapes a collection's name for its files. It shortens escaped names of more than 238
//! bytes and appends a hash, so the name is only in the metadata beside. Older versions escaped
//! differently or not at all. So the name in the metadata decides, and that of the file only where
//! no metadata names the collection.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use export_core::Parameter;
use export_core::source::{UnreadCollection, UnreadReason};
use percent_encoding::percent_decode_str;

use super::metadata::Metadata;
use super::{DumpError, LeftOut, LeftOutReason, entries};

/// Length of a shortened name: this many bytes of the escaped name, `%24`, and a hash in base64.
const SHORTENED_BYTES: usize = 238;
const SHORTENED_AT: usize = 208;
const SHORTENED_MARK: &str = "%24";
const BUCKETS: &str = "system.buckets.";
/// Collections in which MongoDB lists the views, collections and indexes that are listed here
/// anyway.
const LISTS_OF_SERVER: [&str; 3] = ["system.views", "system.namespaces", "system.indexes"];
/// Files and folders that systems and file managers add, in lower case, besides hidden ones.
const DROPPINGS: [&str; 6] = ["__macosx", "@eadir", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"];

/// The collections of one vehicle's folder.
#[derive(Debug, Default)]
pub(super) struct VehicleFiles {
    /// Sorted by name.
    pub(super) collections: Vec<(Parameter, PathBuf)>,
    pub(super) unread: Vec<UnreadCollection>,
    /// Why the folder cannot be exported.
    pub(super) fault: Option<ListingFault>,
}

/// Why it is not known which collections a folder has.
#[derive(Clone, Debug)]
pub(super) enum ListingFault {
    /// Two files hold one collection.
    Twice { path: PathBuf, other: PathBuf },
    /// No metadata has the name of a file with a shortened name.
    Nameless { path: PathBuf, metadata: PathBuf },
}

impl From<ListingFault> for DumpError {
    fn from(fault: ListingFault) -> Self {
        match fault {
            ListingFault::Twice { path, other } => Self::Twice { path, other },
            ListingFault::Nameless { path, metadata } => Self::Nameless { path, metadata },
        }
    }
}

/// Whether a system, a file manager or an editor has written this, and not mongodump: no collection
/// has a name that begins with a dot, and mongodump escapes `$`, with which Office begins the names
/// of its lock files.
pub(super) fn is_dropping(name: &str) -> bool {
    name.starts_with('.') || name.starts_with("~$") || DROPPINGS.contains(&name.to_lowercase().as_str())
}

/// Lists the folder of a vehicle. Adds the paths that are no part of a dump to `left_out`.
pub(super) fn list(folder: &Path, left_out: &mut Vec<LeftOut>) -> Result<VehicleFiles, DumpError> {
    let mut listing = Listing { folder, left_out, files: VehicleFiles::default(), short_buckets: Vec::new() };
    let (mut documents, mut metadata) = (Vec::new(), BTreeMap::new());
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        // A link that leads nowhere stays in, so that reading it is an error.
        let is_folder = fs::metadata(&path).is_ok_and(|found| found.is_dir());
        if is_dropping(&name) || is_folder {
            listing.leave_out(path, LeftOutReason::NotOfDump);
        } else if let Some(stem) = plain.strip_suffix(".metadata.json") {
            metadata.entry(stem.to_owned()).or_insert_with(Vec::new).push(path);
        } else if let Some(stem) = plain.strip_suffix(".bson") {
            documents.push((stem.to_owned(), path));
        } else if plain != "prelude.json" {
            listing.leave_out(path, LeftOutReason::NotOfDump);
        }
    }
    for (stem, path) in &documents {
        let found = listing.read_metadata(metadata.get(stem).map_or(&[], Vec::as_slice));
        listing.add_documents(stem, path.clone(), &found);
    }
    for (stem, paths) in metadata {
        if documents.iter().all(|(other, _)| *other != stem) {
            let found = listing.read_metadata(&paths);
            listing.add_metadata_alone(&stem, &found);
        }
    }
    Ok(listing.finish())
}

/// What the metadata beside a file says.
enum Beside {
    Missing,
    Broken,
    Read(Metadata),
}

struct Listing<'a> {
    folder: &'a Path,
    left_out: &'a mut Vec<LeftOut>,
    files: VehicleFiles,
    /// Beginnings of time series' names, of files of buckets with shortened names.
    short_buckets: Vec<String>,
}

impl Listing<'_> {
    fn leave_out(&mut self, path: PathBuf, reason: LeftOutReason) {
        self.left_out.push(LeftOut { path, reason });
    }

    fn unread(&mut self, name: impl Into<String>, reason: UnreadReason) {
        self.files.unread.push(UnreadCollection { name: name.into(), reason });
    }

    /// Reads the first usable metadata of a collection, compressed or not.
    fn read_metadata(&mut self, paths: &[PathBuf]) -> Beside {
        let mut beside = Beside::Missing;
        for path in paths {
            match Metadata::read(path) {
                Some(metadata) => return Beside::Read(metadata),
                None => self.leave_out(path.clone(), LeftOutReason::BrokenMetadata),
            }
            beside = Beside::Broken;
        }
        beside
    }

    fn add_documents(&mut self, stem: &str, path: PathBuf, beside: &Beside) {
        let metadata = if let Beside::Read(metadata) = beside { Some(metadata) } else { None };
        let named = metadata.and_then(|metadata| metadata.name().map(str::to_owned));
        if named.is_none() && is_shortened(stem) {
            if let Some(start) = decoded(&whole_escapes(&stem[..SHORTENED_AT]), true)
                .and_then(|name| name.strip_prefix(BUCKETS).map(str::to_owned))
            {
                self.short_buckets.push(start);
            } else {
                let metadata = self.folder.join(format!("{stem}.metadata.json"));
                self.files.fault.get_or_insert(ListingFault::Nameless { path, metadata });
            }
            return;
        }
        // Without metadata the file is taken as one of today's mongodump; versions whose metadata
        // has no name wrote a plus as it is.
        let is_text = path.file_name().is_some_and(|name| name.to_str().is_some());
        let from_file = || decoded(stem, metadata.is_none()).filter(|_| is_text);
        let Some(name) = named.or_else(from_file) else {
            self.unread(stem, UnreadReason::UnusableName);
            return self.leave_out(path, LeftOutReason::UnusableName);
        };
        if let Some(series) = name.strip_prefix(BUCKETS) {
            self.unread(series, UnreadReason::TimeSeries);
        } else if metadata.is_some_and(Metadata::is_time_series) {
            self.unread(name, UnreadReason::TimeSeries);
        } else if is_of_server(&name) {
            if !LISTS_OF_SERVER.contains(&name.as_str()) {
                self.unread(name, UnreadReason::System);
            }
        } else if let Ok(parameter) = name.parse() {
            self.files.collections.push((parameter, path));
        } else {
            self.unread(name, UnreadReason::UnusableName);
            self.leave_out(path, LeftOutReason::UnusableName);
        }
    }

    /// Adds a collection that has metadata and no file of documents.
    fn add_metadata_alone(&mut self, stem: &str, beside: &Beside) {
        // Broken metadata is of a collection, too, and the name of the file is the only one.
        let metadata = if let Beside::Read(metadata) = beside { Some(metadata) } else { None };
        let named = metadata.and_then(|metadata| metadata.name().map(str::to_owned));
        let name = named.or_else(|| decoded(stem, false)).unwrap_or_else(|| stem.to_owned());
        let reason = if metadata.is_some_and(Metadata::is_time_series) || name.starts_with(BUCKETS) {
            UnreadReason::TimeSeries
        } else if metadata.is_some_and(Metadata::is_view) {
            UnreadReason::View
        } else if is_of_server(&name) {
            UnreadReason::System
        } else {
            UnreadReason::FileMissing
        };
        let name = name.strip_prefix(BUCKETS).map(str::to_owned).unwrap_or(name);
        if !LISTS_OF_SERVER.contains(&name.as_str()) {
            self.unread(name, reason);
        }
    }

    fn finish(mut self) -> VehicleFiles {
        for start in std::mem::take(&mut self.short_buckets) {
            let is_listed = |unread: &UnreadCollection| {
                unread.reason == UnreadReason::TimeSeries && unread.name.starts_with(&start)
            };
            if !self.files.unread.iter().any(is_listed) {
                self.unread(start, UnreadReason::TimeSeries);
            }
        }
        let mut files = self.files;
        files.unread.sort();
        files.unread.dedup();
        files.collections.sort();
        if let Some(pair) = files.collections.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (path, other) = (pair[0].1.clone(), pair[1].1.clone());
            files.fault.get_or_insert(ListingFault::Twice { path, other });
        }
        files
    }
}

/// Whether the collection belongs to the server itself. mongodump adds files of users and roles
/// whose names begin with `$admin`.
fn is_of_server(name: &str) -> bool {
    name.starts_with("system.") || name.starts_with("$admin.system.")
}

fn is_shortened(stem: &str) -> bool {
    stem.len() == SHORTENED_BYTES
        && stem.is_ascii()
        && stem[SHORTENED_AT..].starts_with(SHORTENED_MARK)
        && stem[SHORTENED_AT + SHORTENED_MARK.len()..]
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The name that a file name stands for. A `%` without two hexadecimal digits stays as it is: old
/// versions did not escape. `None` if the name is not UTF-8.
fn decoded(stem: &str, is_plus_a_space: bool) -> Option<String> {
    let stem = if is_plus_a_space { stem.replace('+', " ") } else { stem.to_owned() };
    percent_decode_str(&stem).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The beginning of an escaped name without a character that was cut in half at its end.
fn whole_escapes(start: &str) -> String {
    let mut whole = start.to_owned();
    while !whole.is_empty() && percent_decode_str(&whole).decode_utf8().is_err()
        || whole.ends_with('%')
        || whole.len() >= 2 && whole.as_bytes()[whole.len() - 2] == b'%'
    {
        whole.pop();
    }
    whole
}
