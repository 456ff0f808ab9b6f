//! Generated names of parameters and vehicles: usual names, and names that are equal for some
//! programs, need quotes, or look like formulas.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Number of parameters that a case may have.
pub(super) const PARAMETER_COUNT: usize = 5;
/// The parameters of most cases.
const USUAL: [&str; PARAMETER_COUNT] = ["soc", "odo", "p.q", "a,b", "say \"hi\""];
/// With the name of its database it is about as long as MongoDB allows (255 bytes).
const LONG: &str = "a_name_of_180_bytes_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Names, some of which are equal but for case, Unicode form, or blanks at their ends.
const ODD: [&str; 36] = [
    "time",
    "TIME",
    "Time_2",
    "time_2",
    "soc",
    "SOC",
    "Soc",
    "soc_2",
    "SOC_3",
    " soc",
    "soc ",
    "straße",
    "STRASSE",
    "é",
    "e\u{301}",
    "É",
    "k",
    "\u{212a}",
    "i",
    "ı",
    "İ",
    "=1+1",
    "'=1+1",
    "a;=b",
    "a;'=b",
    "-5",
    "+x",
    "＠x",
    "two\nlines",
    "tab\tname",
    "\u{1a}",
    "\u{2028}",
    "\u{feff}bom",
    "nul\u{1}",
    "x|-y",
    LONG,
];
/// Vehicles without the prefix; those of most cases are numbered.
const ODD_VEHICLES: [&str; 14] =
    ["a", "A", "a_2", "A_2", "a:b", "a?b", "a_b", "A_B", "é", "e\u{301}", "ß", "SS", "=x", "<script>"];

/// The parameters of a case, all different.
pub(super) fn parameters() -> impl Strategy<Value = Vec<&'static str>> {
    let odd = || subsequence(&ODD[..], PARAMETER_COUNT).prop_shuffle();
    // Neighbours in the list are the ones that are alike.
    let alike = (0..=ODD.len() - PARAMETER_COUNT)
        .prop_map(|first| ODD[first..first + PARAMETER_COUNT].to_vec())
        .prop_shuffle();
    prop_oneof![5 => Just(USUAL.to_vec()), 2 => odd(), 3 => alike]
}

/// Names for the vehicles of a case, without the prefix: numbers, or odd ones.
pub(super) fn vehicles(most: usize) -> impl Strategy<Value = Vec<String>> {
    let numbers = (0..most).map(|number| format!("{number:03}")).collect::<Vec<_>>();
    let odd = subsequence(&ODD_VEHICLES[..], most)
        .prop_shuffle()
        .prop_map(|names| names.into_iter().map(str::to_owned).collect());
    prop_oneof![2 => Just(numbers), 1 => odd]
}

/// A choice of parameters as a request may have it.
pub(super) fn asked(parameters: &[&'static str]) -> impl Strategy<Value = Vec<String>> + use<> {
    let all = parameters.to_vec();
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    select(vec![
        owned(&all[1..2]),
        owned(&["nowhere", all[2], all[0]]),
        owned(&[all[4], all[3], all[1], "TIME_2"]),
    ])
}
