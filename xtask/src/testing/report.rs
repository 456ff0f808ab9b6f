//! The `JUnit` report that nextest writes: which tests ran, and for how long.

use std::fs;
use std::path::PathBuf;

use crate::layout::Layout;

/// A test that ran.
#[derive(Debug, PartialEq)]
pub(super) struct Test {
    pub(super) binary: String,
    pub(super) name: String,
    pub(super) seconds: f64,
}

/// The path of the report, as in `.config/nextest.toml`.
fn path(layout: &Layout) -> PathBuf {
    layout.target.join("nextest/default/junit.xml")
}

/// Removes the report of an earlier run.
pub(super) fn remove(layout: &Layout) {
    let _ = fs::remove_file(path(layout));
}

/// The tests of the last run; `None` if it wrote no report.
pub(super) fn read(layout: &Layout) -> Option<Vec<Test>> {
    fs::read_to_string(path(layout)).ok().map(|xml| tests(&xml))
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
