//! Generated texts: texts that readers and spreadsheets may misunderstand, and any mixture of
//! their parts.

// Of these, euro signs become lone surrogates.
const TEXTS: [&str; 18] = [
    "",
    "=1",
    "+1",
    "@x",
    "a,b",
    "q\"q",
    "x\ry",
    "two\nlines",
    "\tq",
    "é|é",
    "-5.5",
    "-33.86|151.21",
    "52.1, -4.3",
    "+31 6 1234",
    "x;=1+1",
    "a\0b",
    "€",
    "a€b",
];
/// Triggers and separators of spreadsheets, everything that they may pass over, characters that
/// end a line or a text somewhere, and harmless ones.
const PARTS: [&str; 40] = [
    "=", "+", "-", "@", "＝", "＠", "﹣", ",", ";", "\t", "|", "\n", "\r", "\r\n", " ", "\"", "'", "\0",
    "\u{1}", "\u{b}", "\u{c}", "\u{1a}", "\u{1f}", "\u{7f}", "\u{85}", "\u{a0}", "\u{ad}", "\u{200b}",
    "\u{2028}", "\u{2029}", "\u{202e}", "\u{feff}", "x", "5", "0.5", "é", "電", "🚌", "=1+1", "-7",
];

/// A text by random bits.
pub(super) fn text(bits: u64) -> String {
    let pick = |bits: u64, list: &'static [&'static str]| {
        list[usize::try_from(bits % list.len() as u64).expect("less than the length")]
    };
    if bits.is_multiple_of(2) {
        return pick(bits / 2, &TEXTS).to_owned();
    }
    // Six bits for each part, up to seven parts.
    let part_count = 1 + bits / 2 % 7;
    (0..part_count).map(|number| pick(bits >> (8 + 6 * number), &PARTS)).collect()
}
