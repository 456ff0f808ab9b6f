//! The slowest tests of a run, from the `JUnit` report that nextest writes.

use std::fs;
use std::path::PathBuf;

use crate::console;
use crate::layout::Layout;

/// How many are listed.
const LISTED: usize = 10;

/// The path of nextest's report, as in `.config/nextest.toml`.
fn report(layout: &Layout) -> PathBuf {
    layout.target.join("nextest/default/junit.xml")
}

/// Removes the report of an earlier run.
pub(super) fn forget(layout: &Layout) {
    let _ = fs::remove_file(report(layout));
}

/// Prints the slowest tests, if the run wrote a report.
pub(super) fn print(layout: &Layout) {
    let Ok(xml) = fs::read_to_string(report(layout)) else { return };
    let mut tests = tests(&xml);
    if tests.is_empty() {
        return;
    }
    let total_seconds: f64 = tests.iter().map(|test| test.seconds).sum();
    console::step(format!(
        "the slowest of {} tests, which took {total_seconds:.0} s in total (tests run side by side)",
        tests.len()
    ));
    tests.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    for test in tests.iter().take(LISTED) {
        println!("  {:>7.1} s  {} {}", test.seconds, test.binary, test.name);
    }
}

#[derive(Debug, PartialEq)]
struct Test {
    binary: String,
    name: String,
    seconds: f64,
}

/// The `<testcase …>` elements of the report.
fn tests(xml: &str) -> Vec<Test> {
    let elements = xml.split("<testcase ").skip(1).filter_map(|rest| rest.split('>').next());
    elements
        .filter_map(|element| {
            Some(Test {
                binary: attribute(element, "classname")?,
                name: attribute(element, "name")?,
                seconds: attribute(element, "time")?.parse().ok()?,
            })
        })
        .collect()
}

/// The value of an attribute. Names of Rust tests have no characters that XML escapes, other than
/// `<` and `>` in those of generics.
fn attribute(element: &str, name: &str) -> Option<String> {
    let start = format!("{name}=\"");
    let is_start = |at: usize| at == 0 || element.as_bytes()[at - 1] == b' ';
    let (at, _) = element.match_indices(&start).find(|(at, _)| is_start(*at))?;
    let value = element[at + start.len()..].split('"').next()?;
    Some(value.replace("&lt;", "<").replace("&gt;", ">"))
}

#[cfg(test)]
mod tests {
    use super::{Test, tests};

    #[test]
    fn test_cases_are_read_whatever_the_order_of_their_attributes() {
        let xml = r#"<testsuites name="nextest-run" tests="2" time="1.5">
            <testsuite name="a::it"><testcase name="b::c" classname="a::it" timestamp="2026-01-01" time="0.250"></testcase>
            <testcase classname="a" time="1.000" name="d"/></testsuite></testsuites>"#;
        let test =
            |binary: &str, name: &str, seconds| Test { binary: binary.into(), name: name.into(), seconds };
        assert_eq!(tests(xml), [test("a::it", "b::c", 0.25), test("a", "d", 1.0)]);
        assert_eq!(tests("no report"), []);
    }
}
