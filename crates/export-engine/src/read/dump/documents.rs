//! The documents of one file of a dump, one at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use export_core::TimeRange;
use export_core::source::{HourDocuments, SourceError};
use flate2::bufread::MultiGzDecoder;

use super::DumpError;
use super::file::{Ascent, Id, Place, Stretch, cut_short, is_wanted, read_length};

/// Buffer of an uncompressed file, for the lengths. Documents larger than the buffer are read
/// without it.
const BUFFER_BYTES: usize = 8 << 10;
/// Buffers of a compressed file.
const GZIP_BUFFER_BYTES: usize = 128 << 10;

/// Documents of a file that is read front to back.
pub(super) struct Streamed {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    ids: TimeRange,
    position: u64,
    end: u64,
    ascent: Ascent,
}

impl Streamed {
    pub(super) fn plain(path: PathBuf, ids: TimeRange, stretch: Stretch) -> Result<Self, DumpError> {
        let mut file = File::open(&path).map_err(DumpError::io(&path))?;
        file.seek(SeekFrom::Start(stretch.start)).map_err(DumpError::io(&path))?;
        let reader = Box::new(BufReader::with_capacity(BUFFER_BYTES, file));
        Ok(Self { path, reader, ids, position: stretch.start, end: stretch.end, ascent: Ascent::START })
    }

    pub(super) fn compressed(path: PathBuf, ids: TimeRange) -> Result<Self, DumpError> {
        let file = File::open(&path).map_err(DumpError::io(&path))?;
        // A file without any byte is an empty collection, as a plain one is.
        let file_bytes = file.metadata().map_err(DumpError::io(&path))?.len();
        let end = if file_bytes == 0 { 0 } else { u64::MAX };
        let compressed = BufReader::with_capacity(GZIP_BUFFER_BYTES, file);
        let reader = Box::new(BufReader::with_capacity(GZIP_BUFFER_BYTES, MultiGzDecoder::new(compressed)));
        Ok(Self { path, reader, ids, position: 0, end, ascent: Ascent::START })
    }

    fn next_wanted(&mut self) -> Result<Option<Bytes>, DumpError> {
        while self.position < self.end {
            let Some(length) = read_length(&mut self.reader, &self.path, self.position)? else {
                return Ok(None);
            };
            let document =
                read_document(&mut self.reader, &self.path, Place { position: self.position, length })?;
            self.position += length as u64;
            let id = Id::of(&document);
            if !self.ascent.goes_on(id) {
                return Err(DumpError::Unordered { path: self.path.clone() });
            }
            if is_wanted(id, self.ids) {
                return Ok(Some(document.into()));
            }
        }
        Ok(None)
    }
}

impl HourDocuments for Streamed {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.next_wanted()?)
    }
}

/// Documents at known places of a file.
pub(super) struct Listed {
    path: PathBuf,
    file: File,
    places: std::vec::IntoIter<Place>,
}

impl Listed {
    pub(super) fn new(path: PathBuf, places: Vec<Place>) -> Result<Self, DumpError> {
        let file = File::open(&path).map_err(DumpError::io(&path))?;
        Ok(Self { path, file, places: places.into_iter() })
    }
}

impl HourDocuments for Listed {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let Some(place) = self.places.next() else { return Ok(None) };
        self.file.seek(SeekFrom::Start(place.position + 4)).map_err(DumpError::io(&self.path))?;
        Ok(Some(read_document(&mut self.file, &self.path, place)?.into()))
    }
}

/// Reads a document whose length has been read already.
fn read_document(reader: &mut impl Read, path: &Path, place: Place) -> Result<Vec<u8>, DumpError> {
    let Place { position, length } = place;
    let mut document = Vec::with_capacity(length);
    let prefix = i32::try_from(length).unwrap_or(i32::MAX);
    document.extend_from_slice(&prefix.to_le_bytes());
    let outcome = reader.take((length - prefix.to_le_bytes().len()) as u64).read_to_end(&mut document);
    match outcome {
        Ok(_) if document.len() == length => Ok(document),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(DumpError::reading(path, position)(error))
        }
        _ => Err(cut_short(path, position, length, document.len())),
    }
}
