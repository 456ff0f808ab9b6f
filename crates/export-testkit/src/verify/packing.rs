//! Unpacks the files of a result, and reports anything that an ordinary reader would fail on.

use std::fs;
use std::io::{self, Read, Seek};
use std::path::Path;

use flate2::bufread::GzDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::{Entry, ListedEntry, MANIFEST_ENTRY};
use crate::reference::ReferenceCompression;

/// Reads every entry to its end, which also checks its CRC. An error ends the check; defects of the
/// archive are added to `differences`.
pub(super) fn read_zip(
    archive: impl Read + Seek,
    differences: &mut Vec<String>,
) -> Result<Vec<Entry>, String> {
    let mut archive = ZipArchive::new(archive).map_err(|error| format!("this is no zip archive: {error}"))?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|error| format!("entry {index}: {error}"))?;
        let name = file.name().map_err(|error| format!("entry {index} has no name: {error}"))?.into_owned();
        if file.compression() != CompressionMethod::Deflated {
            differences.push(format!("entry {name}: expected method deflate, got {}", file.compression()));
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|error| format!("entry {name}: {error}"))?;
        entries.push(Entry {
            listed: ListedEntry { name, size_bytes: file.size(), compressed_bytes: file.compressed_size() },
            crc32: file.crc32(),
            content,
        });
    }
    Ok(entries)
}

/// Unpacks one object. The manifest is never compressed.
pub(super) fn read_object(
    name: &str,
    bytes: &[u8],
    packed_as: ReferenceCompression,
) -> Result<Entry, String> {
    let content = match packed_as {
        _ if name == MANIFEST_ENTRY => bytes.to_vec(),
        ReferenceCompression::None => bytes.to_vec(),
        ReferenceCompression::Gzip => one_gzip_member(bytes)?,
        ReferenceCompression::Zstd => one_zstd_frame(bytes)?,
    };
    Ok(Entry {
        listed: ListedEntry {
            name: name.to_owned(),
            size_bytes: content.len() as u64,
            compressed_bytes: bytes.len() as u64,
        },
        crc32: crc32fast::hash(&content),
        content,
    })
}

fn one_gzip_member(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let mut member = GzDecoder::new(bytes);
    member.read_to_end(&mut content).map_err(|error| format!("this is no gzip: {error}"))?;
    match member.into_inner() {
        [] => Ok(content),
        rest => Err(format!("{} bytes follow the first gzip member", rest.len())),
    }
}

fn one_zstd_frame(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let not_zstd = |error: io::Error| format!("this is no zstd: {error}");
    let mut content = Vec::new();
    let mut frame = zstd::Decoder::with_buffer(bytes).map_err(not_zstd)?.single_frame();
    frame.read_to_end(&mut content).map_err(not_zstd)?;
    match frame.finish() {
        [] => Ok(content),
        rest => Err(format!("{} bytes follow the first zstd frame", rest.len())),
    }
}

/// The files of a folder as objects, for [`compare_objects`](super::compare_objects). A subfolder
/// is an error.
pub fn read_folder(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        objects.push((name, fs::read(entry.path())?));
    }
    objects.sort();
    Ok(objects)
}
