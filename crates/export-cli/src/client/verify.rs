//! Verifies files of a result: against the SHA-256 of each, which the API tells, and against the
//! manifest, which has the size and the CRC-32 of each before compression. A CRC-32 finds accidents
//! only; anyone can change a file without changing its CRC-32.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use export_core::digest::hex;
use export_core::manifest::VehicleManifest;
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::print::sanitized;

/// Some of the decoders' own blocks.
const BUFFER_BYTES: usize = 256 << 10;

/// What is wrong with a file; `None` if it is right. A file that the manifest does not name is
/// wrong.
pub(super) fn fault(
    path: &Path,
    name: &str,
    sha256: Option<&str>,
    expected: Option<&VehicleManifest>,
) -> anyhow::Result<Option<String>> {
    let Some(expected) = expected else {
        return Ok(Some(format!("{name} is not in the manifest")));
    };
    let open = || File::open(path).with_context(|| format!("cannot read {}", path.display()));
    if let Some(sha256) = sha256 {
        let found = sha256_of(open()?).with_context(|| format!("cannot read {}", path.display()))?;
        if !found.eq_ignore_ascii_case(sha256) {
            return Ok(Some(format!("{name} has the SHA-256 {found} instead of {}", sanitized(sha256))));
        }
    }
    let file = open()?;
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

fn sha256_of(mut file: File) -> io::Result<String> {
    let (mut sha256, mut buffer) = (Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&sha256.finalize())),
            read => sha256.update(&buffer[..read]),
        }
    }
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

#[cfg(test)]
mod tests {
    use export_core::digest::sha256_hex;

    use super::*;

    /// A CRC-32 can be made to fit any content; a SHA-256 cannot.
    #[test]
    fn d6_a_file_with_the_right_crc_32_and_another_sha_256_is_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vehicle_001.csv");
        std::fs::write(&path, "forged").expect("a file");
        let expected = VehicleManifest {
            bytes: 6,
            crc32: format!("{:08x}", crc32fast::hash(b"forged")),
            ..VehicleManifest::default()
        };
        let found = |sha256: Option<&str>| {
            fault(&path, "vehicle_001.csv", sha256, Some(&expected)).expect("readable")
        };
        assert_eq!(found(None), None, "a result of an earlier version has none");
        assert_eq!(found(Some(&sha256_hex("forged").to_uppercase())), None);
        let wrong = found(Some(&sha256_hex("soc,odo"))).expect("a fault");
        assert!(wrong.contains("SHA-256"), "{wrong}");
        let unknown = fault(&path, "vehicle_001.csv", Some(&sha256_hex("forged")), None).expect("readable");
        assert!(unknown.expect("a fault").contains("not in the manifest"));
    }
}
