//! Writes vehicles in the format in which `mongodump` stores them in a folder.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha1::{Digest, Sha1};

use crate::reference::{SourceVehicle, StoredDocument};

/// Longest file name without its extension that `mongodump` keeps; it cuts longer ones and appends
/// a hash.
const LONGEST_NAME: usize = 238;
const KEPT_OF_LONG_NAME: usize = 208;

/// Writes `folder/<vehicle>/<parameter>.bson` with its `.metadata.json`, both as `.gz` when
/// `compressed`. Documents stay in the order in which they are stored.
pub fn write_dump(folder: &Path, vehicles: &[SourceVehicle], compressed: bool) -> io::Result<()> {
    for vehicle in vehicles {
        let database = folder.join(&vehicle.database);
        fs::create_dir_all(&database)?;
        for (number, (collection, documents)) in vehicle.collections.iter().enumerate() {
            let name = file_name(collection);
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

/// The name of a collection's files without extension: escaped, and if that is too long, the first
/// 208 bytes of it, `%24`, and the SHA-1 of the name in base64.
pub fn file_name(collection: &str) -> String {
    let escaped = escaped(collection);
    if escaped.len() <= LONGEST_NAME {
        return escaped;
    }
    let hash = URL_SAFE_NO_PAD.encode(Sha1::digest(collection.as_bytes()));
    format!("{}%24{hash}", &escaped[..KEPT_OF_LONG_NAME])
}

/// A collection's name like Go's `url.QueryEscape` escapes it, which `mongodump` uses since 2020.
fn escaped(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_like_queries() {
        let cases = [
            ("soc", "soc"),
            ("analyses.estimated_range", "analyses.estimated_range"),
            ("a,b", "a%2Cb"),
            ("a/b", "a%2Fb"),
            ("..", ".."),
            ("say \"hi\"", "say+%22hi%22"),
            ("50%", "50%25"),
            ("é\n", "%C3%A9%0A"),
            ("a-b_c~d&e+f=g:h@i", "a-b_c~d%26e%2Bf%3Dg%3Ah%40i"),
        ];
        for (name, expected) in cases {
            assert_eq!(file_name(name), expected);
        }
    }

    /// The example of mongodump's own tests.
    #[test]
    fn a4_long_names_are_shortened_like_mongodump_shortens_them() {
        let start = format!("aVery{}", "Very".repeat(44));
        let name = format!("{start}/Long/Collection/Name/Consisting/Of/Many/Characters");
        assert_eq!(
            file_name(&name),
            format!("{start}%2FLong%2FCollection%2FName%24FUVlwTrb2eHN1RUE1swI1fFzWmA")
        );
        assert_eq!(file_name(&"x".repeat(238)), "x".repeat(238));
        assert_eq!(file_name(&"電".repeat(27)).len(), 238);
    }
}
