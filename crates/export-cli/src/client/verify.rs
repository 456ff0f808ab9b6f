//! Verifies files against the manifest, which has the size and the CRC-32 of each before
//! compression.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use export_core::manifest::VehicleManifest;
use flate2::read::MultiGzDecoder;

/// Some of the decoders' own blocks.
const BUFFER_BYTES: usize = 256 << 10;

/// What is wrong with a file; `None` if it is right. A file that the manifest does not name is
/// wrong.
pub(super) fn fault(
    path: &Path,
    name: &str,
    expected: Option<&VehicleManifest>,
) -> anyhow::Result<Option<String>> {
    let Some(expected) = expected else {
        return Ok(Some(format!("{name} is not in the manifest")));
    };
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    // A file that cannot be decompressed is as wrong as one with another checksum.
    let found = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("gz") => sum(MultiGzDecoder::new(file), expected),
        Some("zst") => zstd::stream::read::Decoder::with_buffer(file).and_then(|file| sum(file, expected)),
        _ => sum(file, expected),
    };
    Ok(match found {
        Err(error) => Some(format!("{name} cannot be decompressed: {error}")),
        Ok((bytes, _)) if bytes != expected.bytes => {
            Some(format!("{name} does not have {} bytes, as the manifest says", expected.bytes))
        }
        Ok((_, crc32)) if !format!("{crc32:08x}").eq_ignore_ascii_case(&expected.crc32) => {
            Some(format!("{name} has the CRC-32 {crc32:08x} instead of {}", expected.crc32))
        }
        Ok(_) => None,
    })
}

/// Size and CRC-32. Reads at most one byte more than expected.
fn sum(content: impl Read, expected: &VehicleManifest) -> io::Result<(u64, u32)> {
    let mut content = content.take(expected.bytes.saturating_add(1));
    let (mut hasher, mut bytes, mut buffer) = (crc32fast::Hasher::new(), 0, vec![0; BUFFER_BYTES]);
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hasher.finalize())),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
