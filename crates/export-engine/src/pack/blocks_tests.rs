use std::io::Read;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::pool::Pool;

fn resources(threads: usize) -> Resources {
    Resources::new(Pool::new(NonZeroUsize::new(threads).expect("some threads"), || ()).expect("threads"))
}

fn packed(codec: Codec, pieces: &[&[u8]], threads: usize) -> (Vec<u8>, FileTotals) {
    let resources = resources(threads);
    let mut output = Vec::new();
    let mut compressor = BlockCompressor::begin(codec, &resources, &mut output).expect("a file");
    for piece in pieces {
        compressor.write_all(piece).expect("room");
    }
    let totals = compressor.finish().expect("an end");
    (output, totals)
}

fn unpacked(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let rest = match codec {
        Codec::Deflate | Codec::DeflateStored => {
            let mut decoder = flate2::bufread::DeflateDecoder::new(bytes);
            decoder.read_to_end(&mut content).expect("a deflate stream");
            decoder.into_inner()
        }
        Codec::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(bytes);
            decoder.read_to_end(&mut content).expect("a gzip member");
            decoder.into_inner()
        }
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).expect("zstd").single_frame();
            decoder.read_to_end(&mut content).expect("a zstd frame");
            decoder.finish()
        }
        Codec::Plain => {
            content.extend_from_slice(bytes);
            &[]
        }
    };
    assert!(rest.is_empty(), "{codec:?}: {} bytes after the end", rest.len());
    content
}

const CODECS: [Codec; 5] = [Codec::Deflate, Codec::DeflateStored, Codec::Gzip, Codec::Zstd, Codec::Plain];

#[test]
fn files_of_every_size_come_out_whole() {
    let text: Vec<u8> = (0..3 * BLOCK_BYTES as u64 + 17).map(|i| (i * i / 7 % 251) as u8).collect();
    for codec in CODECS {
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, text.len()] {
            let (bytes, totals) = packed(codec, &[&text[..length]], 2);
            assert!(unpacked(codec, &bytes) == text[..length], "{codec:?} of {length} bytes");
            assert_eq!(totals, FileTotals { bytes: length as u64, crc32: crc32fast::hash(&text[..length]) });
        }
    }
}

/// Incompressible bytes make a deflater's output longer than its input.
#[test]
fn incompressible_files_come_out_whole() {
    let mut random = fastrand_like(9);
    let noise: Vec<u8> = (0..2 * BLOCK_BYTES + 5).map(|_| random()).collect();
    for codec in CODECS {
        let (bytes, _) = packed(codec, &[&noise], 2);
        assert!(unpacked(codec, &bytes) == noise, "{codec:?}");
    }
}

fn fastrand_like(mut state: u64) -> impl FnMut() -> u8 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn neither_writes_nor_threads_change_the_bytes(
        cuts in prop::collection::vec(0..700_000_usize, 0..8), threads in 1..4_usize, index in 0..CODECS.len(),
    ) {
        let text: Vec<u8> = (0..700_000_u64).map(|i| b'0' + (i * 31 / 17 % 10) as u8).collect();
        let mut cuts = cuts;
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let codec = CODECS[index];
        prop_assert!(packed(codec, &pieces, threads).0 == packed(codec, &[&text], 1).0);
    }
}
