//! What a plain file of a dump holds, found out without reading more of it than the beginnings of its documents.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use export_core::TimeRange;

use super::DumpError;
use crate::bucket::time_of;
use crate::element::{Element, Elements, kind, value_of};

/// Bytes of a document that are looked at first: its length and, in all documents that a server has stored, its `_id`.
const HEAD_BYTES: usize = 64;
/// Largest document a dump may hold: the server's 16 MiB, and the little more that it allows its own.
const MOST_BYTES: i64 = (16 << 20) + (16 << 10);
/// Smallest BSON document: its length and its end.
const LEAST_BYTES: i64 = 5;

/// A document's place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    pub(super) length: usize,
}

/// From the first document that is wanted to the end of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// How the documents of a file stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By `_id`, as a server logs them: the file is read front to back.
    Ascending(Stretch),
    /// In some other order: where the wanted ones are, by `_id`. Takes 16 bytes for each document of the range.
    Other(Vec<Place>),
}

/// A document's `_id`, where it is a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Id {
    /// As a query compares it; never NaN.
    comparable: f64,
    /// Whether it is a time: a whole number of milliseconds in bounds.
    pub(super) is_time: bool,
}

impl Id {
    /// `None` where a document has no number for `_id`, or is none.
    pub(super) fn of(document: &[u8]) -> Option<Self> {
        let id = Elements::of(document).ok()?.find(b"_id").ok()??;
        Self::of_value(id.kind, id.value)
    }

    fn of_value(kind: u8, value: &[u8]) -> Option<Self> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "times are far below 2^53; the rest is far out of range"
        )]
        let comparable = match kind {
            kind::INT32 => f64::from(i32::from_le_bytes(value.try_into().ok()?)),
            kind::INT64 => i64::from_le_bytes(value.try_into().ok()?) as f64,
            kind::DOUBLE => f64::from_le_bytes(value.try_into().ok()?),
            kind::DECIMAL128 => {
                bson::Decimal128::from_bytes(value.try_into().ok()?).to_string().parse().ok()?
            }
            _ => return None,
        };
        let is_time = time_of(Element { kind, key: b"_id", value }).is_ok_and(|time_ms| time_ms.is_some());
        (!comparable.is_nan()).then_some(Self { comparable, is_time })
    }
}

/// Whether a document with this `_id` may hold points of the range. One without a number for `_id` is wanted too: that it cannot
/// be used must be told.
#[expect(clippy::cast_precision_loss, reason = "ranges are far below 2^53 ms")]
pub(super) fn is_wanted(id: Option<Id>, ids: TimeRange) -> bool {
    id.is_none_or(|id| (ids.from_ms() as f64..ids.to_ms() as f64).contains(&id.comparable))
}

/// Sees whether documents come by their times. A document without a time belongs to the one before it, wherever that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ascent {
    last: f64,
}

impl Ascent {
    pub(super) const START: Self = Self { last: f64::NEG_INFINITY };

    /// Whether a document with this `_id` may stand here.
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
    if !(LEAST_BYTES..=MOST_BYTES).contains(&length) {
        return Err(DumpError::Damaged { path: path.to_owned(), position, length });
    }
    Ok(usize::try_from(length).ok())
}

pub(super) fn cut_short(path: &Path, position: u64, needed: usize, found: usize) -> DumpError {
    let (needed, found) = (needed as u64, found as u64);
    DumpError::CutShort { path: path.to_owned(), position, needed, found }
}

/// Goes through a plain file from document to document and finds out how they stand.
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
    // Stable, so that a document without a time stays behind the one before it.
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

/// Reads a document's `_id`, its length having been read, and leaves the reader behind the document.
fn read_id(reader: &mut BufReader<File>, length: usize) -> io::Result<Option<Id>> {
    let mut head = [0; HEAD_BYTES];
    let head = &mut head[..HEAD_BYTES.min(length - 4)];
    reader.read_exact(head)?;
    let rest = length - 4 - head.len();
    // `_id` is the first field of every document that a server has stored.
    if rest > 0
        && let [kind, b'_', b'i', b'd', 0, value @ ..] = head
        && let Ok(value) = value_of(*kind, value)
    {
        let id = Id::of_value(*kind, value);
        reader.seek_relative(i64::try_from(rest - 1).map_err(io::Error::other)?)?;
        let mut end = [0];
        reader.read_exact(&mut end)?;
        // Without its end the document is unreadable as a whole, whatever its beginning says.
        return Ok(id.filter(|_| end == [0]));
    }
    let mut document = Vec::with_capacity(length);
    document.extend_from_slice(&i32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    document.extend_from_slice(head);
    reader.take(rest as u64).read_to_end(&mut document)?;
    Ok(Id::of(&document))
}
