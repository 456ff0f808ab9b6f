//! Hour document → points, by the layout alone: a document's only field is `values`, and keys are
//! numbers of at most seven digits.

const DOCUMENT: u8 = 0x03;
const INT64: u8 = 0x12;
/// `values` with its NUL.
const VALUES_NAME_BYTES: usize = 7;

/// A value as stored in the document, converted to text where needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) offset_ms: i32,
    /// BSON's element type.
    pub(crate) kind: u8,
    /// The eight bytes after the key; of an int32 only the lower four are used.
    pub(crate) bits: u64,
}

/// Appends the points of the hour document that begins at `start`.
pub(crate) fn walk(bytes: &[u8], start: usize, points: &mut Vec<Point>) {
    let mut at = start + 4;
    loop {
        let kind = bytes[at];
        let name = at + 1;
        if kind == DOCUMENT {
            level(bytes, name + VALUES_NAME_BYTES, 0, points);
            return;
        }
        // `_id` and `levels`: the array's length determines its end.
        let name_bytes = bytes[name..].iter().position(|byte| *byte == 0).expect("a name ends") + 1;
        let value = name + name_bytes;
        at = value + if kind == INT64 { 8 } else { length(bytes, value) };
    }
}

/// Reads the entries of the document that begins at `start`, all relative to `base_ms`.
fn level(bytes: &[u8], start: usize, base_ms: i32, points: &mut Vec<Point>) {
    let mut at = start + 4;
    loop {
        let kind = bytes[at];
        if kind == 0 {
            return;
        }
        let (number, digits) = key(word(bytes, at + 1));
        let value = at + 1 + digits + 1;
        let offset_ms = base_ms + number;
        if kind == DOCUMENT {
            // The bucket's own `values` directly follows its length.
            level(bytes, value + 4 + 1 + VALUES_NAME_BYTES, offset_ms, points);
            at = value + length(bytes, value);
        } else {
            points.push(Point { offset_ms, kind, bits: word(bytes, value) });
            // An int32 has 4 bytes (0x10), the others 8 (0x01, 0x12).
            at = value + if kind == 0x10 { 4 } else { 8 };
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk::<8>().expect("files are padded"))
}

fn length(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(*bytes[at..].first_chunk::<4>().expect("files are padded")) as usize
}

/// Number and digits of a key of at most seven digits, eight bytes of text at a time.
fn key(text: u64) -> (i32, usize) {
    let nul = text.wrapping_sub(0x0101_0101_0101_0101) & !text & 0x8080_8080_8080_8080;
    let digits = nul.trailing_zeros() / 8;
    let aligned = (text & 0x0f0f_0f0f_0f0f_0f0f).wrapping_shl(64 - digits * 8);
    let pairs = (aligned.wrapping_mul(2561) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(6_553_601) >> 16) & 0x0000_ffff_0000_ffff;
    let number = fours.wrapping_mul(42_949_672_960_001) >> 32;
    (number as i32, digits as usize)
}

#[cfg(test)]
mod tests {
    use export_fleet::FleetSpec;

    use super::{key, walk};

    #[test]
    fn keys_of_all_lengths() {
        for (text, expected) in
            [("0", 0), ("7", 7), ("5312", 5312), ("300000", 300_000), ("3599999", 3_599_999)]
        {
            let mut bytes = [0xff; 8];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            bytes[text.len()] = 0;
            assert_eq!(key(u64::from_le_bytes(bytes)), (expected, text.len()));
        }
    }

    #[test]
    fn a_fleet_document_has_its_points_in_order() {
        let fleet = FleetSpec {
            seed: 1,
            vehicles: 1,
            first_hour_ms: 1_543_536_000_000,
            hours: 24,
            vehicle_prefix: "vehicle_".to_owned(),
            oddities: false,
            rhythm: export_fleet::Rhythm::Paired,
        };
        let vehicle = fleet.vehicle(0);
        let hour = vehicle.hours().find(|hour| hour.documents.len() == 5).expect("a busy hour");
        for hour_document in &hour.documents {
            // Padded like files, and not at the start.
            let bytes = [&[0; 3], hour_document.document.as_bytes(), &[0; 8]].concat();
            let mut points = Vec::new();
            walk(&bytes, 3, &mut points);
            assert!(!points.is_empty());
            assert!(points.windows(2).all(|pair| pair[0].offset_ms < pair[1].offset_ms));
            assert!(points.iter().all(|point| (0..3_600_000).contains(&point.offset_ms)));
        }
    }
}
