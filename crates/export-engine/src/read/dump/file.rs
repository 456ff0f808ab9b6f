//! A first pass over an uncompressed dump file that reads only the start of each document: where
//! the wanted documents are, and whether they are ordered.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use export_core::TimeRange;

use super::DumpError;
use crate::read::element::{Element, Elements, kind, value_length, value_of};
use crate::read::hour::time_of;

/// Bytes of a document that are read first, after its length. They hold the `_id` of every document
/// that a server has stored.
const HEAD_BYTES: usize = 64;
/// Largest document of a dump: 16 MiB for users' documents, and the 16 KiB more that the server
/// allows itself.
const MAX_BYTES: i64 = (16 << 20) + (16 << 10);
/// Smallest BSON document: a length and a closing byte.
const MIN_BYTES: i64 = 5;
/// Bytes of a field `_id` before its value: the type, the name, and the zero byte behind it.
const ID_HEADER_BYTES: usize = 5;

/// A document's place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    pub(super) length: usize,
}

/// From the first wanted document to the end of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The order of the documents of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Ascending by `_id`, as a logging system inserts them: the file is read front to back.
    Ascending(Stretch),
    /// Another order: the places of the wanted documents, by `_id`. Takes 16 bytes per document of
    /// the range.
    Other(Vec<Place>),
}

/// A document's `_id` that is a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Id {
    /// The value that a query compares; never NaN.
    comparable: f64,
    /// Whether it is a time: an integer of milliseconds within bounds.
    pub(super) is_time: bool,
}

impl Id {
    /// `None` if the bytes are not a document, its `_id` is not a number, or it has several.
    pub(super) fn of(document: &[u8]) -> Option<Self> {
        let mut fields = Elements::of(document).ok()?;
        let mut found = None;
        // Behind bytes that are no field there is no further `_id` that could be read.
        while let Ok(Some(field)) = fields.next() {
            if field.key == b"_id" && found.replace(field).is_some() {
                return None;
            }
        }
        Self::of_element(found?)
    }

    fn of_element(id: Element<'_>) -> Option<Self> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "times are far below 2^53; larger values are out of range anyway"
        )]
        let comparable = match id.kind {
            kind::INT32 => f64::from(id.int32().ok()?),
            kind::INT64 => id.int64().ok()? as f64,
            kind::DOUBLE => id.double().ok()?,
            kind::DECIMAL128 => id.decimal().ok()?.to_string().parse().ok()?,
            _ => return None,
        };
        let is_time = time_of(id).is_ok_and(|time_ms| time_ms.is_some());
        (!comparable.is_nan()).then_some(Self { comparable, is_time })
    }
}

/// Whether a document with this `_id` is wanted: it may hold points of the range, or it does not
/// have exactly one `_id` that is a number, so that the document must be counted as rejected.
#[expect(clippy::cast_precision_loss, reason = "ranges are far below 2^53 ms")]
pub(super) fn is_wanted(id: Option<Id>, ids: TimeRange) -> bool {
    id.is_none_or(|id| (ids.from_ms() as f64..ids.to_ms() as f64).contains(&id.comparable))
}

/// Checks that documents are ordered by time. A document without a time keeps its position after
/// the document before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ascent {
    last: f64,
}

impl Ascent {
    pub(super) const START: Self = Self { last: f64::NEG_INFINITY };

    /// Whether a document with this `_id` is in order here.
    pub(super) fn goes_on(&mut self, id: Option<Id>) -> bool {
        let Some(id) = id.filter(|id| id.is_time) else { return true };
        let goes_on = id.comparable >= self.last;
        self.last = id.comparable;
        goes_on
    }
}

/// Reads the length of the next document; `None` at the end of the file.
pub(super) fn read_length(
    reader: &mut impl BufRead,
    path: &Path,
    position: u64,
) -> Result<Option<usize>, DumpError> {
    let mut prefix = [0; 4];
    let mut filled = 0;
    while filled < prefix.len() {
        match reader.read(&mut prefix[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(cut_short(path, position, prefix.len(), filled)),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(cut_short(path, position, prefix.len(), filled));
            }
            Err(error) => return Err(DumpError::reading(path, position)(error)),
        }
    }
    let length = i64::from(i32::from_le_bytes(prefix));
    if !(MIN_BYTES..=MAX_BYTES).contains(&length) {
        return Err(DumpError::Damaged { path: path.to_owned(), position, length });
    }
    Ok(usize::try_from(length).ok())
}

pub(super) fn cut_short(path: &Path, position: u64, needed: usize, found: usize) -> DumpError {
    let (needed, found) = (needed as u64, found as u64);
    DumpError::CutShort { path: path.to_owned(), position, needed, found }
}

/// Reads an uncompressed file from document to document and finds out their order.
pub(super) fn examine(path: &Path, ids: TimeRange) -> Result<Order, DumpError> {
    let (ascent, stretch) = (Ascent::START, Stretch { start: 0, end: 0 });
    let mut survey = Survey { is_ascending: true, ascent, stretch };
    for_each_document(path, |place, id| survey.add(place, id, ids))?;
    if survey.is_ascending {
        return Ok(Order::Ascending(survey.stretch));
    }
    let mut keyed = Vec::new();
    let mut before = f64::NEG_INFINITY;
    for_each_document(path, |place, id| {
        if is_wanted(id, ids) {
            before = id.filter(|id| id.is_time).map_or(before, |id| id.comparable);
            keyed.push((before, place));
        }
    })?;
    // A stable sort, so that a document without a time stays after the document before it.
    keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
    Ok(Order::Other(keyed.into_iter().map(|(_, place)| place).collect()))
}

struct Survey {
    is_ascending: bool,
    ascent: Ascent,
    stretch: Stretch,
}

impl Survey {
    fn add(&mut self, place: Place, id: Option<Id>, ids: TimeRange) {
        self.is_ascending &= self.ascent.goes_on(id);
        if is_wanted(id, ids) {
            if self.stretch.end == 0 {
                self.stretch.start = place.position;
            }
            self.stretch.end = place.position + place.length as u64;
        }
    }
}

fn for_each_document(path: &Path, mut each: impl FnMut(Place, Option<Id>)) -> Result<(), DumpError> {
    let file = File::open(path).map_err(DumpError::io(path))?;
    let file_bytes = file.metadata().map_err(DumpError::io(path))?.len();
    let mut reader = BufReader::with_capacity(4 * HEAD_BYTES, file);
    let mut position = 0;
    while let Some(length) = read_length(&mut reader, path, position)? {
        let left = file_bytes.saturating_sub(position);
        if left < length as u64 {
            return Err(cut_short(path, position, length, usize::try_from(left).unwrap_or(usize::MAX)));
        }
        let id = read_id(&mut reader, length).map_err(DumpError::io(path))?;
        each(Place { position, length }, id);
        position += length as u64;
    }
    Ok(())
}

/// Reads a document's `_id` and moves the reader to the end of the document. The length has been
/// read already.
///
/// The fields behind the `_id` are skipped by their lengths, because one of them may be a second
/// `_id`. A document with `_id` and `values` alone takes no more reads than its first bytes and its
/// last one.
fn read_id(reader: &mut BufReader<File>, length: usize) -> io::Result<Option<Id>> {
    let mut head = [0; HEAD_BYTES];
    let head = &mut head[..HEAD_BYTES.min(length - 4)];
    reader.read_exact(head)?;
    // `_id` is the first field of every document that a server has stored.
    if let [kind, b'_', b'i', b'd', 0, value @ ..] = &*head
        && let Ok(value) = value_of(*kind, value)
    {
        let id = Id::of_element(Element { kind: *kind, key: b"_id", value });
        let behind_id = ID_HEADER_BYTES + value.len();
        let mut fields = Fields { reader, length: length - 4, at: head.len() };
        if let Some(is_alone) = fields.are_without_id(&head[behind_id..])? {
            fields.skip_to(length - 5)?;
            let mut end = [0];
            reader.read_exact(&mut end)?;
            // Without its closing byte the document is malformed, whatever its start says.
            return Ok(id.filter(|_| is_alone && end == [0]));
        }
        fields.skip_to(0)?;
        reader.read_exact(head)?;
    }
    let rest = length - 4 - head.len();
    let mut document = Vec::with_capacity(length);
    document.extend_from_slice(&i32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    document.extend_from_slice(head);
    reader.take(rest as u64).read_to_end(&mut document)?;
    Ok(Id::of(&document))
}

/// The fields of a document in a file. Positions are counted from behind the document's length.
struct Fields<'a> {
    reader: &'a mut BufReader<File>,
    length: usize,
    /// Position of the reader.
    at: usize,
}

impl Fields<'_> {
    /// Whether no further field is an `_id`, up to the document's end or to bytes that are no
    /// field. `start` are the bytes of the next fields that were read already. `None` if it is not
    /// certain without reading a field completely.
    fn are_without_id(&mut self, start: &[u8]) -> io::Result<Option<bool>> {
        let mut window = [0; HEAD_BYTES];
        window[..start.len()].copy_from_slice(start);
        let mut filled = start.len();
        // Position of the next field.
        let mut next = self.at - start.len();
        let mut used = 0;
        loop {
            if next >= self.length - 1 {
                return Ok(Some(true));
            }
            match Header::read(&window[used..filled]) {
                Some(Header { is_id, field_bytes: Some(field_bytes) }) => {
                    next = next.saturating_add(field_bytes);
                    // A field that is longer than its document cannot be read.
                    if is_id && next < self.length {
                        return Ok(Some(false));
                    }
                    used = used.saturating_add(field_bytes).min(filled);
                }
                // Bytes that are no field, or a field with a long name.
                _ if used == 0 && filled == HEAD_BYTES.min(self.length - next) => return Ok(None),
                _ => {
                    self.skip_to(next)?;
                    filled = HEAD_BYTES.min(self.length - next);
                    self.reader.read_exact(&mut window[..filled])?;
                    (self.at, used) = (next + filled, 0);
                }
            }
        }
    }

    fn skip_to(&mut self, position: usize) -> io::Result<()> {
        let offset = |value: usize| i64::try_from(value).map_err(io::Error::other);
        self.reader.seek_relative(offset(position)? - offset(self.at)?)?;
        self.at = position;
        Ok(())
    }
}

/// What the first bytes of a field say.
struct Header {
    is_id: bool,
    /// Bytes of the field with its value; `None` if more bytes are needed to know them.
    field_bytes: Option<usize>,
}

impl Header {
    /// `None` if the bytes do not hold the whole name.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, after_kind) = bytes.split_first()?;
        let name_bytes = after_kind.iter().position(|byte| *byte == 0)?;
        let behind_name = after_kind.get(name_bytes + 1..).unwrap_or_default();
        let value_bytes = value_length(*kind, behind_name).ok();
        let field_bytes = value_bytes.and_then(|value| value.checked_add(name_bytes + 2));
        Some(Self { is_id: &after_kind[..name_bytes] == b"_id", field_bytes })
    }
}
