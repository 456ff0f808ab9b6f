//! Tests that nextest lists and did not run. A run that leaves tests out can nevertheless succeed:
//! nextest did so with some combinations of `priority`, `threads-required` and a test group.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::testing::report::Test;

/// How many unrun tests an error names.
const NAMED: usize = 10;

/// Checks that every listed test ran. `list` is the output of `cargo nextest list
/// --message-format json` with the filters of the run; tests that a filter excludes do not count.
pub(super) fn check(list: &str, ran: &[Test]) -> anyhow::Result<()> {
    let listed = listed(list).context("the list of tests could not be read")?;
    let ran: BTreeSet<(&str, &str)> =
        ran.iter().map(|test| (test.binary.as_str(), test.name.as_str())).collect();
    let unrun: Vec<String> = listed
        .iter()
        .filter(|(binary, name)| !ran.contains(&(binary, name)))
        .map(|(binary, name)| format!("{binary} {name}"))
        .collect();
    ensure!(unrun.is_empty(), "{}", message(&unrun, listed.len()));
    Ok(())
}

/// Binary and name of every test that the filters select.
fn listed(list: &str) -> anyhow::Result<Vec<(String, String)>> {
    let list: Value = serde_json::from_str(list)?;
    let suites = list["rust-suites"].as_object().context("`rust-suites` is missing")?;
    let mut tests = Vec::new();
    for (binary, suite) in suites {
        // Binaries that a filter excludes as a whole have no tests here.
        for (name, test) in suite["testcases"].as_object().into_iter().flatten() {
            let status = &test["filter-match"]["status"];
            if status.as_str().context("`filter-match` is missing")? == "matches" {
                tests.push((binary.clone(), name.clone()));
            }
        }
    }
    Ok(tests)
}

fn message(unrun: &[String], listed: usize) -> String {
    let mut lines = vec![format!("{} of {listed} selected tests did not run:", unrun.len())];
    lines.extend(unrun.iter().take(NAMED).map(|test| format!("  {test}")));
    if let Some(rest) = unrun.len().checked_sub(NAMED).filter(|rest| *rest > 0) {
        lines.push(format!("  and {rest} more"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{check, message};
    use crate::testing::report::Test;

    const LIST: &str = r#"{"test-count": 4, "rust-suites": {
        "a": {"testcases": {
            "one": {"ignored": false, "filter-match": {"status": "matches"}},
            "two": {"ignored": false, "filter-match": {"status": "mismatch", "reason": "expression"}},
            "three": {"ignored": true, "filter-match": {"status": "mismatch", "reason": "ignored"}}}},
        "a::it": {"testcases": {"one": {"ignored": false, "filter-match": {"status": "matches"}}}},
        "b": {"status": "skipped", "testcases": {}}}}"#;

    fn ran(binary: &str, name: &str) -> Test {
        Test { binary: binary.to_owned(), name: name.to_owned(), seconds: 1.0 }
    }

    #[test]
    fn every_selected_test_must_run() {
        check(LIST, &[ran("a::it", "one"), ran("a", "one")]).unwrap();
        let error = check(LIST, &[ran("a", "one"), ran("b", "one")]).unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 selected tests did not run:\n  a::it one");
        assert!(check(LIST, &[]).unwrap_err().to_string().starts_with("2 of 2 "));
    }

    #[test]
    fn a_list_in_another_format_is_an_error() {
        assert!(check("", &[]).is_err());
        assert!(check("{}", &[]).is_err());
        assert!(check(r#"{"rust-suites": {"a": {"testcases": {"one": {}}}}}"#, &[ran("a", "one")]).is_err());
    }

    #[test]
    fn a_long_list_is_cut() {
        let tests: Vec<String> = (0..12).map(|number| format!("a t{number}")).collect();
        let message = message(&tests, 80);
        assert!(message.starts_with("12 of 80 selected tests did not run:\n  a t0\n"), "{message}");
        assert!(message.ends_with("\n  a t9\n  and 2 more"), "{message}");
    }
}
