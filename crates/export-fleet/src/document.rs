//! Writes hour documents as raw BSON: hour → 5 minutes → 1 minute → innermost bucket → points.
//!
//! Raw bytes, because a fleet has millions of points, and owned BSON documents would cost more time
//! than everything else here.

use bson::RawDocumentBuf;

use crate::drive::{Point, Value};

const DOUBLE: u8 = 0x01;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const NULL: u8 = 0x0a;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;

/// Spans of the outer buckets of real documents, in milliseconds; the innermost span varies.
const OUTER_SPANS_MS: [i64; 2] = [300_000, 60_000];

/// The BSON type of `_id`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum IdType {
    Int64,
    Double,
}

/// The order in which the keys of a level are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum KeyOrder {
    Numeric,
    /// The order of strings: "10000" before "5000".
    Text,
    Shuffled,
}

/// The form of an hour document, apart from its points.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) id_type: IdType,
    pub(crate) has_levels: bool,
    /// 10,000 or 5,000 ms.
    pub(crate) innermost_ms: i64,
    pub(crate) key_order: KeyOrder,
    /// Whether a `count` field follows the values.
    pub(crate) has_count: bool,
    /// Malformed entries of the last innermost bucket: key and value.
    pub(crate) strays: Vec<(Stray, Value)>,
}

/// The key of a stray entry.
#[derive(Debug, Clone)]
pub(crate) enum Stray {
    /// This text.
    Key(&'static str),
    /// The key that gives this offset from the hour's start.
    Offset(i64),
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            id_type: IdType::Int64,
            has_levels: true,
            innermost_ms: 10_000,
            key_order: KeyOrder::Numeric,
            has_count: false,
            strays: Vec::new(),
        }
    }
}

/// Writes one hour document. `points` are sorted by offset; `rng` only shuffles keys.
pub(crate) fn encode(
    layout: &Layout,
    start_ms: i64,
    points: &[Point],
    rng: &mut fastrand::Rng,
) -> RawDocumentBuf {
    let mut writer = Writer { bytes: Vec::with_capacity(points.len() * 20 + 512) };
    let spans_ms = [OUTER_SPANS_MS[0], OUTER_SPANS_MS[1], layout.innermost_ms];
    let root = writer.begin();
    match layout.id_type {
        IdType::Int64 => writer.value("_id", &Value::Int64(start_ms)),
        IdType::Double => writer.double_of("_id", start_ms),
    }
    if layout.has_levels {
        writer.levels(&spans_ms);
    }
    writer.key(DOCUMENT, "values");
    let last_offset_ms = points.last().map_or(0, |point| point.offset_ms);
    Level { layout, last_offset_ms }.write(&mut writer, rng, points, 0, &spans_ms);
    if layout.has_count {
        let count = i32::try_from(points.len()).expect("an hour has at most 3,600,000 points");
        writer.value("count", &Value::Int32(count));
    }
    writer.end(root);
    writer.finish()
}

/// State shared by all levels of a document.
struct Level<'a> {
    layout: &'a Layout,
    /// Offset of the last point; the strays go into its bucket.
    last_offset_ms: i64,
}

impl Level<'_> {
    /// Writes the document of the level that starts `base_ms` after the hour's start.
    fn write(
        &self,
        writer: &mut Writer,
        rng: &mut fastrand::Rng,
        points: &[Point],
        base_ms: i64,
        spans_ms: &[i64],
    ) {
        let level = writer.begin();
        if let Some((&span_ms, inner_spans_ms)) = spans_ms.split_first() {
            let bucket_of = |point: &Point| (point.offset_ms - base_ms) / span_ms * span_ms;
            let mut buckets: Vec<(i64, &[Point])> = points
                .chunk_by(|one, next| bucket_of(one) == bucket_of(next))
                .map(|bucket| (bucket_of(&bucket[0]), bucket))
                .collect();
            self.reorder(&mut buckets, rng);
            for (key_ms, bucket) in buckets {
                writer.key(DOCUMENT, &key_ms.to_string());
                let child = writer.begin();
                writer.key(DOCUMENT, "values");
                self.write(writer, rng, bucket, base_ms + key_ms, inner_spans_ms);
                writer.end(child);
            }
        } else {
            let mut entries: Vec<(i64, &Value)> =
                points.iter().map(|point| (point.offset_ms - base_ms, &point.value)).collect();
            self.reorder(&mut entries, rng);
            for (key_ms, value) in entries {
                writer.value(&key_ms.to_string(), value);
            }
            if points.last().is_some_and(|point| point.offset_ms == self.last_offset_ms) {
                self.write_strays(writer, base_ms);
            }
        }
        writer.end(level);
    }

    fn write_strays(&self, writer: &mut Writer, base_ms: i64) {
        for (stray, value) in &self.layout.strays {
            match stray {
                Stray::Key(key) => writer.value(key, value),
                Stray::Offset(offset_ms) => writer.value(&(offset_ms - base_ms).to_string(), value),
            }
        }
    }

    fn reorder<T>(&self, entries: &mut [(i64, T)], rng: &mut fastrand::Rng) {
        match self.layout.key_order {
            KeyOrder::Numeric => {}
            KeyOrder::Text => entries.sort_by_cached_key(|(key_ms, _)| key_ms.to_string()),
            KeyOrder::Shuffled => rng.shuffle(entries),
        }
    }
}

/// Appends BSON elements.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a document. Returns the position of its length, which [`Self::end`] fills in.
    fn begin(&mut self) -> usize {
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.len() - 4
    }

    fn end(&mut self, start: usize) {
        self.bytes.push(0);
        let length = i32::try_from(self.bytes.len() - start).expect("an hour document is far below 2 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn key(&mut self, element_type: u8, key: &str) {
        self.bytes.push(element_type);
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(0);
    }

    fn value(&mut self, key: &str, value: &Value) {
        match value {
            Value::Null => self.key(NULL, key),
            Value::Int32(value) => {
                self.key(INT32, key);
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
            Value::Int64(value) => {
                self.key(INT64, key);
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
            Value::Double(value) => {
                self.key(DOUBLE, key);
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
            Value::Nested => {
                self.key(DOCUMENT, key);
                let nested = self.begin();
                self.value("raw", &Value::Int32(1));
                self.end(nested);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "unix milliseconds are far below 2^53")]
    fn double_of(&mut self, key: &str, value: i64) {
        self.value(key, &Value::Double(value as f64));
    }

    fn levels(&mut self, spans_ms: &[i64]) {
        self.key(ARRAY, "levels");
        let array = self.begin();
        for (index, span_ms) in [crate::HOUR_MS].iter().chain(spans_ms).enumerate() {
            let span = i32::try_from(*span_ms).expect("a span is at most an hour");
            self.value(&index.to_string(), &Value::Int32(span));
        }
        self.end(array);
    }

    fn finish(self) -> RawDocumentBuf {
        RawDocumentBuf::from_bytes(self.bytes).expect("the writer closes every document it opens")
    }
}
