//! The header of a dynamic deflate block (RFC 1951, 3.2.7), as far as it is needed to find the end of
//! the block.

/// Bits before the header's own: whether the block is the last, and its type.
const BITS_BEFORE: usize = 3;
/// The order in which the header has the lengths of the codes for code lengths.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Most bits of a code for a literal.
const MAX_BITS: usize = 15;
/// Most bits of a code for the length of a code.
const MAX_LENGTH_BITS: u8 = 7;
/// The symbol for the end of a block.
const END_OF_BLOCK: usize = 256;

/// The code for "end of block" in the dynamic block at the start of this stream, its last bit lowest.
/// `None` if the header is not valid.
pub(crate) fn end_of_block_code(stream: &[u8]) -> Option<u16> {
    let mut bits = Bits { bytes: stream, position: BITS_BEFORE };
    let literals = 257 + usize::from(bits.take(5)?);
    let distances = 1 + usize::from(bits.take(5)?);
    let listed = 4 + usize::from(bits.take(4)?);
    let mut of_lengths = [0; ORDER.len()];
    for symbol in &ORDER[..listed] {
        of_lengths[*symbol] = bits.take(3)?;
    }
    let first_codes = first_codes(&of_lengths);
    let mut lengths = Vec::with_capacity(literals + distances);
    // The lengths for distances follow; a repetition may reach into them.
    while lengths.len() < literals {
        let (length, count) = match bits.symbol(&of_lengths, &first_codes)? {
            length @ 0..16 => (length, 1),
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            _ => (0, 11 + bits.take(7)?),
        };
        lengths.extend(std::iter::repeat_n(length, usize::from(count)));
    }
    code_of(&lengths[..literals], END_OF_BLOCK)
}

/// The first code of each length. Codes of one length are consecutive, in the order of their symbols.
fn first_codes(lengths: &[u8]) -> [u16; MAX_BITS + 1] {
    let mut counts = [0_u16; MAX_BITS + 1];
    for length in lengths.iter().filter(|length| **length > 0) {
        counts[usize::from(*length)] += 1;
    }
    let mut first_codes = [0_u16; MAX_BITS + 1];
    for bits in 1..=MAX_BITS {
        first_codes[bits] = first_codes[bits - 1].wrapping_add(counts[bits - 1]) << 1;
    }
    first_codes
}

/// The code of a symbol, or `None` if it has none.
fn code_of(lengths: &[u8], symbol: usize) -> Option<u16> {
    let length = *lengths.get(symbol).filter(|length| **length > 0)?;
    let earlier: u16 = lengths[..symbol].iter().map(|other| u16::from(*other == length)).sum();
    first_codes(lengths)[usize::from(length)].checked_add(earlier)
}

/// A sequence of bits, from the lowest of each byte to the highest.
struct Bits<'s> {
    bytes: &'s [u8],
    position: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = (byte >> (self.position % 8)) & 1;
        self.position += 1;
        Some(bit)
    }

    /// A number of up to eight bits, the lowest first.
    fn take(&mut self, count: usize) -> Option<u8> {
        (0..count).try_fold(0, |number, place| Some(number | (self.bit()? << place)))
    }

    /// The symbol whose code follows.
    fn symbol(&mut self, lengths: &[u8], first_codes: &[u16; MAX_BITS + 1]) -> Option<u8> {
        let mut code = 0;
        for (length, first_code) in (1..=MAX_LENGTH_BITS).zip(&first_codes[1..]) {
            code = (code << 1) | u16::from(self.bit()?);
            let of_length = lengths.iter().enumerate().filter(|(_, other)| **other == length);
            let index = code.checked_sub(*first_code).map(usize::from);
            if let Some((symbol, _)) = index.and_then(|index| of_length.clone().nth(index)) {
                return u8::try_from(symbol).ok();
            }
        }
        None
    }
}
