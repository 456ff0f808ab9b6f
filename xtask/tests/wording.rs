//! Logs, errors and documentation use ordinary words: phrases that misled readers do not come back.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases of earlier versions that readers misunderstood.
const MISLEADING: [&str; 9] = [
    "did not do it",
    "may not look",
    "nobody",
    "somebody",
    "whoever",
    "sits out",
    "sends word",
    "has another keeper",
    "could not be told",
];
/// Files whose text is what users read, and comments of maintainers.
const ENDINGS: [&str; 2] = ["rs", "md"];

/// All files with these endings below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let is_wanted = path.extension().is_some_and(|ending| ENDINGS.iter().any(|wanted| ending == *wanted));
        if path.is_dir() {
            files(&path, found);
        } else if is_wanted {
            found.push(path);
        }
    }
}

#[test]
fn misleading_phrases_do_not_come_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = Vec::new();
    for folder in ["crates", "docs", "xtask/src"] {
        files(&root.join(folder), &mut all);
    }
    all.extend(["README.md", "SETUP.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    // Decisions are records of their time.
    all.retain(|path| !path.starts_with(root.join("docs/adr")));
    assert!(all.len() > 500, "{}", all.len());
    let mut found = Vec::new();
    for path in &all {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (line, number) in text.lines().map(str::to_lowercase).zip(1..) {
            let phrases = MISLEADING.iter().filter(|phrase| line.contains(*phrase));
            found.extend(phrases.map(|phrase| format!("{}:{number}: {phrase:?}", path.display())));
        }
    }
    assert!(found.is_empty(), "say it in other words:\n{}", found.join("\n"));
}
