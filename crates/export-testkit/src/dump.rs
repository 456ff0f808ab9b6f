//! Writes vehicles in the format in which `mongodump` stores them in a folder.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::reference::{SourceVehicle, StoredDocument};

/// Longest file name without its extension that `mongodump` keeps; it cuts longer ones and appends
/// a hash.
const LONGEST_NAME: usize = 238;

/// Writes `folder/<vehicle>/<parameter>.bson` with its `.metadata.json`, both as `.gz` when
/// `compressed`. Documents stay in the order in which they are stored. Panics on a collection name
/// that is too long to be a file name.
pub fn write_dump(folder: &Path, vehicles: &[SourceVehicle], compressed: bool) -> io::Result<()> {
    for vehicle in vehicles {
        let database = folder.join(&vehicle.database);
        fs::create_dir_all(&database)?;
        for (number, (collection, documents)) in vehicle.collections.iter().enumerate() {
            let name = escaped(collection);
            assert!(name.len() <= LONGEST_NAME, "{collection} is too long for this dump");
            let content: Vec<u8> = documents.iter().flat_map(StoredDocument::bytes).collect();
            write_file(&database, &format!("{name}.bson"), &content, compressed)?;
            let metadata = json!({
                "indexes": [{ "v": { "$numberInt": "2" }, "key": { "_id": { "$numberInt": "1" } }, "name": "_id_" }],
                "uuid": format!("{number:032x}"),
                "collectionName": collection,
                "type": "collection",
            });
            let metadata = metadata.to_string();
            write_file(&database, &format!("{name}.metadata.json"), metadata.as_bytes(), compressed)?;
        }
    }
    Ok(())
}

fn write_file(folder: &Path, name: &str, content: &[u8], compressed: bool) -> io::Result<()> {
    if !compressed {
        return fs::write(folder.join(name), content);
    }
    let file = fs::File::create(folder.join(format!("{name}.gz")))?;
    let mut encoder = GzEncoder::new(file, Compression::fast());
    encoder.write_all(content)?;
    encoder.finish().map(drop)
}

/// A collection's name as a file name: percent-encoded like a segment of a URL's path, as
/// `mongodump` does.
fn escaped(name: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~$&+=:@".contains(byte);
    name.bytes()
        .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Escapes like Go's `url.PathEscape`, which `mongodump` uses for file names.
    #[test]
    fn names_are_escaped_like_segments_of_a_path() {
        let cases = [
            ("soc", "soc"),
            ("analyses.estimated_range", "analyses.estimated_range"),
            ("a,b", "a%2Cb"),
            ("a/b", "a%2Fb"),
            ("..", ".."),
            ("say \"hi\"", "say%20%22hi%22"),
            ("50%", "50%25"),
            ("é\n", "%C3%A9%0A"),
            ("a-b_c~d&e+f=g:h@i", "a-b_c~d&e+f=g:h@i"),
            ("a;b?c!d*e'f(g)h#i", "a%3Bb%3Fc%21d%2Ae%27f%28g%29h%23i"),
        ];
        for (name, expected) in cases {
            assert_eq!(escaped(name), expected);
        }
    }
}
