//! Every declared dependency is mentioned in its crate's sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::tokens::tokens;
use super::workspace::{Kind, Package, Workspace};

/// Dependencies that are declared only to enable their features.
const FOR_FEATURES: [(&str, &str); 0] = [];

/// One line per dependency that no source file mentions.
pub(super) fn violations(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let product = mentioned(&package.folder, &["src"])?;
        let all = mentioned(&package.folder, &["src", "tests", "examples", "benches", "build.rs"])?;
        violations.extend(of_package(package, &product, &all));
    }
    Ok(violations)
}

fn of_package(package: &Package, product: &BTreeSet<String>, all: &BTreeSet<String>) -> Vec<String> {
    let is_used = |name: &str, kind: Kind| {
        let identifier = name.replace('-', "_");
        let sources = if kind == Kind::Normal { product } else { all };
        sources.contains(&identifier) || FOR_FEATURES.contains(&(package.name.as_str(), name))
    };
    let unused = package.dependencies.iter().filter(|dependency| !is_used(&dependency.name, dependency.kind));
    unused.map(|dependency| format!("{}: {} is not used", package.name, dependency.name)).collect()
}

/// All identifiers in the Rust files of these folders and files.
fn mentioned(package: &Path, places: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let mut identifiers = BTreeSet::new();
    for place in places.iter().map(|place| package.join(place)).filter(|place| place.exists()) {
        for file in rust_files(&place)? {
            let source = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            identifiers.extend(tokens(&source).iter().map(|token| token.text.to_owned()));
        }
    }
    Ok(identifiers)
}

/// The Rust files in a folder and below, or the file itself.
pub(super) fn rust_files(place: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    if !place.is_dir() {
        let is_rust = place.extension().is_some_and(|extension| extension == "rs");
        return Ok(if is_rust { vec![place.to_path_buf()] } else { Vec::new() });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(place).with_context(|| place.display().to_string())? {
        files.extend(rust_files(&entry?.path())?);
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::of_package;
    use crate::layers::workspace::{Dependency, Kind, Package};

    #[test]
    fn a_dependency_of_tests_may_be_used_anywhere_and_another_only_in_src() {
        let dependency = |name: &str, kind| Dependency { name: name.to_owned(), kind };
        let dependencies = vec![
            dependency("used-one", Kind::Normal),
            dependency("only-in-tests", Kind::Normal),
            dependency("of-tests", Kind::Dev),
            dependency("unused", Kind::Dev),
        ];
        let package = Package {
            id: "a".into(),
            name: "a".into(),
            folder: "/".into(),
            dependencies,
            targets: Vec::new(),
        };
        let product = ["used_one".to_owned()].into();
        let all = ["used_one", "only_in_tests", "of_tests"].map(str::to_owned).into();
        assert_eq!(
            of_package(&package, &product, &all),
            ["a: only-in-tests is not used", "a: unused is not used"]
        );
    }
}
