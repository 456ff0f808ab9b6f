//! What a spreadsheet makes of a CSV: whatever it splits lines at, it finds no formula.

use std::fmt::Write as _;

use bson::Bson;
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceOptions, ReferenceRequest, export_documents};
use proptest::prelude::*;

use crate::oracle::{csv, vehicle};

/// 2018-11-30T00:00:00Z.
const START_MS: i64 = 1_543_536_000_000;
/// What a spreadsheet may split lines at: any of these, or several.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];
const TRIGGERS: &str = "=+-@＝＋－＠﹦﹢﹣﹫";

/// Texts of everything that matters here, and a little that does not.
const TEXT: &str = "[-=+@＝＠﹣,;|\t\n\r \"'\0\u{1a}\u{a0}\u{200b}\u{feff}x5.]{0,9}";
/// Names of parameters: not empty, without NUL.
const NAME: &str = "[-=+@＝,;|\t\n\r \"'\u{feff}x5.]{1,9}";

/// All cells of the spreadsheet, line by line. In quotes there are neither delimiters nor line
/// ends; a quote inside a cell means nothing.
fn cells(csv: &str, delimiters: &[char]) -> Vec<String> {
    let is_end = |c: char| delimiters.contains(&c) || c == '\n' || c == '\r';
    let (mut cells, mut rest) = (Vec::new(), csv);
    while !rest.is_empty() {
        let mut cell = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some(end) = rest.find('"') {
                cell.push_str(&rest[..end]);
                rest = &rest[end + 1..];
                match rest.strip_prefix('"') {
                    Some(more) => {
                        cell.push('"');
                        rest = more;
                    }
                    None => break,
                }
            }
        }
        let end = rest.find(is_end).unwrap_or(rest.len());
        cell.push_str(&rest[..end]);
        rest = rest[end..].strip_prefix(is_end).unwrap_or("");
        cells.push(cell);
    }
    cells
}

/// Cells of a program that knows no quotes.
fn pieces<'a>(csv: &'a str, delimiters: &[char]) -> Vec<&'a str> {
    csv.split(|c| delimiters.contains(&c) || c == '\n' || c == '\r').collect()
}

/// The cell without what spreadsheets may pass over at its beginning.
fn trimmed(cell: &str) -> &str {
    cell.trim_start_matches(|c: char| {
        c.is_whitespace() || c.is_control() || "\"\u{200b}\u{feff}\u{ad}".contains(c)
    })
}

/// The fault of a cell, if it has one.
fn fault(cell: &str, delimiters: &[char]) -> Option<String> {
    let text = trimmed(cell);
    if !text.starts_with(|c| TRIGGERS.contains(c)) {
        return None;
    }
    // Numbers stay, but only where they are the whole cell: a formula goes on with what follows
    // them. That needs a delimiter that most programs split at: any other cell goes on with the
    // next column.
    let is_number = |part: &str| part.parse::<f64>().is_ok() && !part.contains(char::is_alphabetic);
    let is_whole = text.split([',', '|']).all(|part| is_number(part.trim_matches([' ', '"'])));
    let is_tolerable = is_whole && (delimiters.contains(&',') || delimiters.contains(&'|'));
    (!is_tolerable).then(|| format!("{cell:?} of a program that splits at {delimiters:?}"))
}

/// The faults of a CSV, whatever it is split at.
fn faults(csv: &str) -> String {
    let mut found = String::new();
    for chosen in 0..1_u8 << DELIMITERS.len() {
        let delimiters: Vec<char> = (0..DELIMITERS.len())
            .filter(|index| chosen >> index & 1 == 1)
            .map(|index| DELIMITERS[index])
            .collect();
        let quoted = cells(csv, &delimiters);
        let raw = pieces(csv, &delimiters);
        let all = quoted.iter().map(String::as_str).chain(raw);
        for fault in all.filter_map(|cell| fault(cell, &delimiters)) {
            writeln!(found, "{fault}").expect("text");
        }
    }
    found
}

fn exported(names: [&str; 2], texts: &[(String, String)], options: ReferenceOptions) -> String {
    let column = |of: fn(&(String, String)) -> &String| {
        let points = (0..).zip(texts).map(|(ms, text)| (START_MS + ms, Bson::String(of(text).clone())));
        vec![HourBuilder::new(START_MS).points(points).build()]
    };
    let collections = [(names[0], column(|texts| &texts.0)), (names[1], column(|texts| &texts.1))];
    let request = ReferenceRequest {
        from_ms: START_MS,
        to_ms: START_MS + 3_600_000,
        parameters: Some(names.map(str::to_owned).to_vec()),
        options,
        ..ReferenceRequest::default()
    };
    let export = export_documents(&request, &[vehicle("vehicle_001", &collections)]);
    csv(&export, 0).to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a11_no_piece_of_a_text_or_a_header_is_a_formula(
        names in (NAME, NAME), texts in prop::collection::vec((TEXT, TEXT), 1..5),
    ) {
        prop_assume!(names.0 != names.1);
        let csv = exported([&names.0, &names.1], &texts, ReferenceOptions::default());
        prop_assert_eq!(faults(&csv), "", "{:?}", csv);
    }

    /// The text of a cell is the value with `'`s in front of pieces, and with U+FFFD for NUL.
    #[test]
    fn a11_the_guard_only_adds_apostrophes(texts in prop::collection::vec((TEXT, TEXT), 1..5)) {
        let csv = exported(["one", "two"], &texts, ReferenceOptions::default());
        let plain: Vec<String> = texts.iter().flat_map(|(one, two)| [one, two]).map(|text| text.replace(['\'', '\0'], "")).collect();
        let found: Vec<String> = values(&csv).into_iter().map(|text| text.replace(['\'', '\u{fffd}'], "")).collect();
        prop_assert_eq!(found, plain);
    }

    /// Without the guard every text comes back, except for NUL.
    #[test]
    fn a10_texts_come_back(texts in prop::collection::vec((TEXT, TEXT), 1..5)) {
        let options = ReferenceOptions { guard: false, ..ReferenceOptions::default() };
        let csv = exported(["one", "two"], &texts, options);
        let expected: Vec<String> = texts.iter().flat_map(|(one, two)| [one, two]).map(|text| text.replace('\0', "\u{fffd}")).collect();
        prop_assert_eq!(values(&csv), expected);
    }
}

/// The texts of a CSV with two columns, as RFC 4180 has them: nothing but LF ends an unquoted cell.
fn values(csv: &str) -> Vec<String> {
    let all = cells(csv, &[',']);
    assert_eq!(all.len() % 3, 0, "{csv:?}");
    all.chunks(3).skip(1).flat_map(|row| row[1..].to_vec()).collect()
}

/// The test above can fail.
#[test]
fn a11_a_formula_is_a_fault() {
    for formula in
        ["x;=1", "x\t=1", "x|=1", "\"x\n=1\"", "x; =1", "x;\"\"=1", "＝1", "=1", "-x", "1;-5", "3|-5,1+x"]
    {
        assert!(!faults(&format!("time,a\n1,{formula}\n")).is_empty(), "{formula:?}");
    }
    for text in ["x;'=1", "-5", "-33.86|-151.21", "a=b", "\"52.1, -4.3\""] {
        assert_eq!(faults(&format!("time,a\n1,{text}\n")), "", "{text:?}");
    }
}
