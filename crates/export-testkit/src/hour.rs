//! Hour documents for tests: builds the nested layout of the source from points, with any oddity.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

const HOUR_MS: i64 = 3_600_000;

/// The spans above the innermost bucket, milliseconds.
const OUTER_SPANS_MS: [i64; 2] = [300_000, 60_000];

/// How `_id` is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdType {
    /// A 32-bit integer. Only hours up to 25 January 1970 fit; later ones panic.
    Int32,
    /// A 64-bit integer, as drivers of typed languages write it.
    Int64,
    /// A double, as JavaScript drivers write it.
    Double,
}

/// The order in which the keys of every level are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// By number.
    Numeric,
    /// As strings compare: "10000" before "5000".
    Text,
    /// Randomly, but always in the same way for the same seed.
    Shuffled(u64),
}

/// Builds one hour document.
///
/// ```
/// use export_testkit::hour::HourBuilder;
///
/// let hour = HourBuilder::new(1_482_246_000_000).point(1_482_246_010_714, 1_131_889).build();
/// let expected = r#"{"0":{"values":{"0":{"values":{"10000":{"values":{"714":1131889}}}}}}}"#;
/// assert_eq!(hour.get_document("values").unwrap().to_string().replace(' ', ""), expected);
/// ```
#[derive(Debug, Clone)]
pub struct HourBuilder {
    hour_ms: i64,
    id_type: IdType,
    levels: bool,
    innermost_ms: i64,
    key_order: KeyOrder,
    fields: Document,
    points: Vec<(i64, Bson)>,
    entries: Vec<(Vec<String>, Bson)>,
}

impl HourBuilder {
    /// An hour that starts at `hour_ms`, unix milliseconds: int64 `_id`, `levels` present, 10 s
    /// buckets, sorted keys.
    pub fn new(hour_ms: i64) -> Self {
        Self {
            hour_ms,
            id_type: IdType::Int64,
            levels: true,
            innermost_ms: 10_000,
            key_order: KeyOrder::Numeric,
            fields: Document::new(),
            points: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Adds a point at `time_ms`, unix milliseconds, which may lie outside the hour. A second point
    /// at the same time replaces the first; use [`Self::entry`] for two paths to one time.
    #[must_use]
    pub fn point(mut self, time_ms: i64, value: impl Into<Bson>) -> Self {
        self.points.push((time_ms, value.into()));
        self
    }

    /// Adds points; each is a time in unix milliseconds and a value.
    #[must_use]
    pub fn points<V: Into<Bson>>(self, points: impl IntoIterator<Item = (i64, V)>) -> Self {
        points.into_iter().fold(self, |hour, (time_ms, value)| hour.point(time_ms, value))
    }

    /// Stores `value` under these keys unchanged; each key but the last is a level.
    #[must_use]
    pub fn entry(mut self, path: &[&str], value: impl Into<Bson>) -> Self {
        self.entries.push((path.iter().map(|key| (*key).to_owned()).collect(), value.into()));
        self
    }

    /// Stores `_id` as this type.
    #[must_use]
    pub fn id_type(mut self, id_type: IdType) -> Self {
        self.id_type = id_type;
        self
    }

    /// Leaves `levels` out.
    #[must_use]
    pub fn without_levels(mut self) -> Self {
        self.levels = false;
        self
    }

    /// Sets the span of the innermost buckets, milliseconds: 10,000 or 5,000 in real data.
    #[must_use]
    pub fn innermost_ms(mut self, span_ms: i64) -> Self {
        self.innermost_ms = span_ms;
        self
    }

    /// Stores the keys of every level in this order.
    #[must_use]
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.key_order = order;
        self
    }

    /// Adds a field beside `values`, for instance `count`.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Bson>) -> Self {
        self.fields.insert(name, value);
        self
    }

    /// The document as stored.
    pub fn build(self) -> Document {
        let mut values = Document::new();
        let spans_ms = [OUTER_SPANS_MS[0], OUTER_SPANS_MS[1], self.innermost_ms];
        let points: BTreeMap<i64, Bson> = self.points.into_iter().collect();
        for (time_ms, value) in points {
            let mut rest_ms = time_ms - self.hour_ms;
            let mut path = Vec::new();
            for span_ms in spans_ms {
                let bucket_ms = rest_ms.div_euclid(span_ms) * span_ms;
                path.push(bucket_ms.to_string());
                rest_ms -= bucket_ms;
            }
            path.push(rest_ms.to_string());
            insert(&mut values, &path, value);
        }
        for (path, value) in self.entries {
            insert(&mut values, &path, value);
        }
        let seed = if let KeyOrder::Shuffled(seed) = self.key_order { seed } else { 0 };
        let values = reorder(values, self.key_order, &mut fastrand::Rng::with_seed(seed));

        let mut document = doc! { "_id": stored_id(self.hour_ms, self.id_type) };
        if self.levels {
            document.insert("levels", [&[HOUR_MS], &spans_ms[..]].concat());
        }
        document.insert("values", values);
        document.extend(self.fields);
        document
    }
}

#[expect(clippy::cast_precision_loss, reason = "hours in tests are far below 2^53 ms")]
fn stored_id(hour_ms: i64, id_type: IdType) -> Bson {
    match id_type {
        IdType::Int32 => Bson::Int32(i32::try_from(hour_ms).expect("an int32 _id is an hour near 1970")),
        IdType::Int64 => Bson::Int64(hour_ms),
        IdType::Double => Bson::Double(hour_ms as f64),
    }
}

/// Stores `value` at the end of `path`, and creates the levels on the way.
fn insert(values: &mut Document, path: &[String], value: Bson) {
    let (key, inner) = path.split_first().expect("an entry has at least one key");
    if inner.is_empty() {
        values.insert(key, value);
        return;
    }
    if !values.contains_key(key) {
        values.insert(key, doc! { "values": {} });
    }
    let level = values.get_document_mut(key).and_then(|child| child.get_document_mut("values"));
    insert(level.expect("a key on a path is a level, not a point"), inner, value);
}

fn reorder(values: Document, order: KeyOrder, rng: &mut fastrand::Rng) -> Document {
    let mut entries: Vec<(String, Bson)> = values
        .into_iter()
        .map(|(key, child)| match child {
            Bson::Document(mut child) => {
                if let Some(Bson::Document(inner)) = child.remove("values") {
                    child.insert("values", reorder(inner, order, rng));
                }
                (key, Bson::Document(child))
            }
            point => (key, point),
        })
        .collect();
    match order {
        KeyOrder::Numeric => entries.sort_by_key(|(key, _)| key.parse::<i64>().unwrap_or(i64::MAX)),
        KeyOrder::Text => entries.sort_by(|(one, _), (other, _)| one.cmp(other)),
        KeyOrder::Shuffled(_) => rng.shuffle(&mut entries),
    }
    entries.into_iter().collect()
}
