//! The dependencies that docs/architecture.md lists are those of the manifests, and point one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// By crate, without `export-`: the project's crates it depends on, tests apart.
fn dependencies(crates: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let folders =
        fs::read_dir(crates).expect("the folder of crates").map(|entry| entry.expect("a folder").path());
    folders.map(|folder| (short_name(&folder), project_dependencies(&folder.join("Cargo.toml")))).collect()
}

fn short_name(folder: &Path) -> String {
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a plain name");
    name.strip_prefix("export-").expect("export-…").to_owned()
}

fn project_dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(manifest).expect("a manifest");
    let section = text.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.strip_prefix("export-")?.split(['.', ' ']).next());
    names.map(str::to_owned).collect()
}

#[test]
fn dependencies_are_as_the_architecture_says() {
    let services = ["core", "settings", "store", "source", "amqp", "s3", "observability"];
    let and = |more: &[&'static str]| services.iter().chain(more).copied().collect::<Vec<_>>();
    let allowed: [(&str, Vec<&str>); 18] = [
        ("core", vec![]),
        ("settings", vec!["core"]),
        ("fleet", vec![]),
        ("testkit", vec![]),
        ("faults", vec!["testkit"]),
        ("engine", vec!["core"]),
        ("model", vec!["core"]),
        ("mongo", vec![]),
        ("store", vec!["core", "mongo"]),
        ("source", vec!["core", "mongo"]),
        ("amqp", vec!["core"]),
        ("s3", vec!["core", "settings"]),
        ("webhooks", vec!["core"]),
        ("observability", vec!["core", "settings"]),
        ("api", and(&["webhooks"])),
        ("worker", and(&["engine"])),
        ("cli", and(&["engine", "fleet", "webhooks"])),
        ("bench", vec!["core", "engine", "fleet"]),
    ];
    let mut found = dependencies(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    // The only place where API and worker meet.
    assert!(found.remove("e2e").is_some_and(|e2e| e2e.contains("api") && e2e.contains("worker")));
    let allowed: BTreeMap<String, BTreeSet<String>> = allowed
        .into_iter()
        .map(|(name, list)| (name.to_owned(), list.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(found, allowed, "change docs/architecture.md first, and say why");
}
