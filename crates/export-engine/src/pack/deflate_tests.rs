use std::io::Read;

use flate2::bufread::DeflateDecoder;
use proptest::prelude::*;

use super::*;

/// Deflates the chunks, joined and ended.
fn deflated(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut deflater = Deflater::new();
    let mut stream = Vec::new();
    for chunk in chunks {
        let before = stream.len();
        deflater.append(chunk, &mut stream).expect("deflated");
        assert!(stream.len() - before <= DEFLATED_CHUNK_BYTES, "{} bytes", stream.len() - before);
    }
    stream.extend([0x03, 0x00]);
    stream
}

/// Inflates with three decoders that share no code.
fn inflated(stream: &[u8], length: usize) -> [Vec<u8>; 3] {
    let mut by_zlib_rs = Vec::new();
    let mut decoder = DeflateDecoder::new(stream);
    decoder.read_to_end(&mut by_zlib_rs).expect("zlib-rs inflates it");
    assert!(decoder.into_inner().is_empty(), "bytes follow the end");
    let mut by_libdeflate = vec![0; length];
    let mut decompressor = libdeflater::Decompressor::new();
    let written =
        decompressor.deflate_decompress(stream, &mut by_libdeflate).expect("libdeflate inflates it");
    assert_eq!(written, length);
    let by_miniz = miniz_oxide::inflate::decompress_to_vec(stream).expect("miniz_oxide inflates it");
    [by_zlib_rs, by_libdeflate, by_miniz]
}

fn assert_joins(chunks: &[Vec<u8>]) {
    let whole = chunks.concat();
    for content in inflated(&deflated(chunks), whole.len()) {
        assert!(content == whole, "{} bytes in {} chunks", whole.len(), chunks.len());
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u8(..)).collect()
}

fn digits(length: usize, seed: u64, different: u8) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| b'0' + random.u8(0..different)).collect()
}

/// Rows with ascending times and a value that changes slowly.
fn rows(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut time_ms, mut value) = (1_543_536_000_000_u64, 500_u16);
    let mut text = Vec::new();
    while text.len() < length {
        time_ms += random.u64(1..2_000);
        value = value + random.u16(0..3) - 1;
        text.extend(format!("{time_ms},,{value},\n").into_bytes());
    }
    text.truncate(length);
    text
}

/// Bytes with more matches than libdeflate puts into one block.
fn short_matches(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let words: Vec<[u8; 4]> = (0..64).map(|_| random.u32(..).to_le_bytes()).collect();
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend(words[random.usize(0..words.len())]);
    }
    bytes.truncate(length);
    bytes
}

fn any_chunk() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..300_usize, 0..=CHUNK_BYTES, Just(CHUNK_BYTES)];
    (0..6, length, any::<u64>()).prop_map(|(kind, length, seed)| match kind {
        0 => rows(length, seed),
        1 => noise(length, seed),
        2 => digits(length, seed, 10),
        3 => vec![seed.to_le_bytes()[0]; length],
        4 => short_matches(length, seed),
        _ => noise(length.min(1), seed),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn joined_chunks_inflate_to_the_whole(chunks in prop::collection::vec(any_chunk(), 0..6)) {
        assert_joins(&chunks);
    }
}

/// All lengths near those at which libdeflate changes the type of its block.
#[test]
fn short_chunks_join() {
    for seed in 0..3 {
        let chunks: Vec<_> = (0..400).map(|length| rows(length, seed)).collect();
        assert_joins(&chunks);
        let chunks: Vec<_> = (0..400).map(|length| digits(length, seed, 2)).collect();
        assert_joins(&chunks);
    }
}

/// What must follow the stream that libdeflate makes of this chunk.
fn joint_of(chunk: &[u8]) -> Joint {
    let mut deflater = Deflater::new();
    let length = deflater.compressor.deflate_compress(chunk, &mut deflater.stream).expect("deflated");
    joint(&deflater.stream[..length])
}

/// Each kind of joint occurs, so the other tests cover all of them.
#[test]
fn each_kind_of_joint_occurs() {
    let of_rows: Vec<Joint> = (0..32).map(|seed| joint_of(&rows(CHUNK_BYTES, seed))).collect();
    assert!(of_rows.contains(&Joint::After(EMPTY_BLOCK)), "{of_rows:?}");
    assert!(of_rows.contains(&Joint::After(HEADER_AND_EMPTY_BLOCK)), "{of_rows:?}");
    assert!(of_rows.iter().all(|joint| matches!(joint, Joint::After(_))), "{of_rows:?}");
    assert_eq!(joint_of(&noise(CHUNK_BYTES, 1)), Joint::After(&[]));
    assert_eq!(joint_of(&short_matches(CHUNK_BYTES, 1)), Joint::SeveralBlocks);
    assert_eq!(joint_of(&[b'x'; 1_000]), Joint::UnknownEnd);
}

/// Several blocks become two halves, and no chunk is compressed by zlib-rs without need.
#[test]
fn only_static_blocks_are_left_to_zlib_rs() {
    let mut deflater = Deflater::new();
    let mut stream = Vec::new();
    for seed in 0..8 {
        deflater.append(&short_matches(CHUNK_BYTES, seed), &mut stream).expect("deflated");
        deflater.append(&rows(CHUNK_BYTES, seed), &mut stream).expect("deflated");
        deflater.append(&noise(CHUNK_BYTES, seed), &mut stream).expect("deflated");
    }
    assert!(deflater.flushing.is_none());
    deflater.append(&[b'x'; 1_000], &mut stream).expect("deflated");
    assert!(deflater.flushing.is_some());
}

#[test]
fn stored_chunks_inflate_to_the_whole() {
    let chunks = [Vec::new(), noise(1, 1), noise(CHUNK_BYTES, 2)];
    let mut stream = Vec::new();
    for chunk in &chunks {
        store(chunk, &mut stream).expect("stored");
    }
    stream.extend([0x03, 0x00]);
    let whole = chunks.concat();
    assert_eq!(stream.len(), whole.len() + 3 * 5 + 2);
    for content in inflated(&stream, whole.len()) {
        assert!(content == whole);
    }
    assert!(store(&vec![0; 1 << 16], &mut stream).is_err());
}
