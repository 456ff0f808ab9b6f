//! Oddities of real data that its description does not mention, added to a healthy fleet.

use crate::document::{IdType, KeyOrder, Layout, Stray};
use crate::drive::{Column, Point, Value};

/// A key beyond the hour in any bucket.
const FAR_KEY: &str = "999999999";
/// A key that no point has, since points are never before the start of their bucket.
const NESTED_KEY: &str = "-1";

/// Picks the oddities of a document; `None` means that the document is missing. Most documents have
/// one oddity or none.
pub(crate) fn odd(mut column: Column, rng: &mut fastrand::Rng) -> Option<(Layout, Column)> {
    if one_in(rng, 40) {
        return None;
    }
    let mut layout = Layout::default();
    if one_in(rng, 4) {
        layout.id_type = IdType::Double;
    }
    if one_in(rng, 6) {
        layout.has_levels = false;
    }
    if one_in(rng, 6) {
        layout.innermost_ms = 5_000;
        layout.key_order = KeyOrder::Text;
    }
    if one_in(rng, 8) {
        layout.key_order = KeyOrder::Shuffled;
    }
    layout.has_count = one_in(rng, 5);
    if one_in(rng, 3) {
        blank_some(&mut column.points, rng);
    }
    if one_in(rng, 10) {
        layout.strays = strays(&column, rng);
    }
    Some((layout, column))
}

fn one_in(rng: &mut fastrand::Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}

/// Sets up to five values to null, as from a sensor without a reading.
fn blank_some(points: &mut [Point], rng: &mut fastrand::Rng) {
    for _ in 0..rng.u32(1..6) {
        let index = rng.usize(0..points.len());
        points[index].value = Value::Null;
    }
}

/// One of each: a key that is not a number, a value that is a document, a point outside its hour,
/// and a second key for the time of the first point.
fn strays(column: &Column, rng: &mut fastrand::Rng) -> Vec<(Stray, Value)> {
    let first_offset_ms = column.points.first().map_or(0, |point| point.offset_ms);
    let last_offset_ms = column.points.last().map_or(0, |point| point.offset_ms);
    // A bucket never has the same key twice, so the second key needs the first point in another
    // bucket.
    let is_elsewhere = last_offset_ms - first_offset_ms >= 10_000;
    let mut strays = vec![
        (Stray::Key("n/a"), Value::Int32(1)),
        (Stray::Key(FAR_KEY), Value::Double(2.5)),
        (Stray::Key(NESTED_KEY), Value::Nested),
    ];
    if is_elsewhere {
        strays.push((Stray::Offset(first_offset_ms), Value::Int32(rng.i32(0..100))));
    }
    strays
}
