//! The documentation of the API agrees with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use export_api::http::problem::ProblemType;
use serde_json::Value;

const API: &str = include_str!("../../../../docs/api.md");
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// After a change: `cargo run -p export-api -- openapi > docs/openapi.json`.
#[test]
fn the_stored_description_equals_the_served_one() {
    let printed = Command::new(env!("CARGO_BIN_EXE_exports-api")).arg("openapi").env_clear().output();
    let printed = printed.expect("the program runs");
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).expect("text");
    assert_eq!(printed, export_api::routes::description_text());
    let differs = printed.lines().zip(OPENAPI.lines()).find(|(printed, stored)| printed != stored);
    assert!(
        printed == OPENAPI,
        "docs/openapi.json differs from the code, first here: {differs:?}; \
         run `cargo run -p export-api -- openapi > docs/openapi.json` and review the difference"
    );
}

/// The statuses of the first column of the table about retries, with the second column.
fn retries() -> BTreeMap<u16, &'static str> {
    let (_, table) = API.split_once("## Which answers to retry").expect("a section about retries");
    let mut retries = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (Some(statuses), Some(answer)) = (cells.next(), cells.next()) else { continue };
        for status in statuses.split(", ").filter_map(|status| status.parse().ok()) {
            assert_eq!(retries.insert(status, answer), None, "{status} is there twice");
        }
    }
    retries
}

/// Every status of a problem has a row, and those that the description gives a `Retry-After` are
/// worth a retry.
#[test]
fn the_table_of_retries_covers_every_problem() {
    let retries = retries();
    for kind in ProblemType::ALL {
        assert!(retries.contains_key(&kind.status().as_u16()), "{}", kind.uri());
    }
    let description: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let answers = &description["paths"]["/export"]["post"]["responses"];
    for (status, answer) in answers.as_object().expect("answers") {
        let status: u16 = status.parse().expect("a status");
        let is_worth_it = answer["headers"].get("retry-after").is_some() || status == 408;
        assert!(status < 400 || is_worth_it == (retries[&status] == "yes"), "{status}");
    }
    assert_eq!((retries[&409], retries[&401]), ("if it has `Retry-After`", "with other credentials"));
}

/// Rows of the table are `| status | type, type | when |`.
#[test]
fn exactly_the_existing_problems_are_documented() {
    let (_, table) = API.split_once("## Problems").expect("a section about problems");
    let mut documented = BTreeSet::new();
    let (table, _) = table.split_once("\n## ").expect("another section after it");
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (Some(status), Some(kinds)) = (cells.next(), cells.next()) else { continue };
        let Ok(status) = status.parse::<u16>() else { continue };
        for kind in kinds.split('`').filter(|kind| kind.contains(':') || kind.starts_with('…')) {
            let (_, name) = kind.rsplit_once(':').expect("a name");
            documented.insert((status, format!("urn:exports:problem:{name}")));
        }
    }
    let made: BTreeSet<_> =
        ProblemType::ALL.iter().map(|kind| (kind.status().as_u16(), kind.uri())).collect();
    assert_eq!(made.len(), ProblemType::ALL.len(), "types are unique");
    assert_eq!(documented, made);
}
