//! The crates depend on each other in one direction, and drivers stay in the crates that own them.

use std::collections::BTreeSet;

use super::rules::{CONFINED, CRATES, IMPURE, PURE, RIGS, Rule};
use super::workspace::{Dependency, Kind, Package, Workspace};

/// One line per forbidden dependency.
pub(super) fn violations(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let name = short(&package.name);
        let Some(rule) = CRATES.iter().chain(RIGS).find(|rule| rule.name == name) else {
            violations.push(format!("{}: no rule in xtask/src/layers/rules.rs", package.name));
            continue;
        };
        let is_project = |name: &str| workspace.packages.iter().any(|package| package.name == name);
        violations.extend(of_package(package, rule, is_project));
        if PURE.contains(&name) {
            let contained = contained(workspace, &package.id);
            let impure = IMPURE.iter().filter(|impure| contained.contains(*impure));
            violations.extend(impure.map(|impure| format!("{}: must not contain {impure}", package.name)));
        }
    }
    violations
}

fn short(name: &str) -> &str {
    name.strip_prefix("export-").unwrap_or(name)
}

fn of_package(package: &Package, rule: &Rule, is_project: impl Fn(&str) -> bool) -> Vec<String> {
    let is_rig = RIGS.iter().any(|rig| rig.name == rule.name);
    let is_allowed = |dependency: &Dependency| {
        let name = short(&dependency.name);
        if is_project(&dependency.name) {
            // Tests may also use the test kit, the generator of data and the rules in memory, and
            // nothing else that the crate may not.
            let is_for_tests = dependency.kind == Kind::Dev && ["testkit", "fleet", "model"].contains(&name);
            return rule.may_use.contains(&name) || is_for_tests;
        }
        let is_free = is_rig || dependency.kind == Kind::Dev;
        let confined = CONFINED.iter().find(|confined| confined.external == dependency.name);
        is_free || confined.is_none_or(|confined| confined.to.contains(&rule.name))
    };
    let forbidden = package.dependencies.iter().filter(|dependency| !is_allowed(dependency));
    forbidden.map(|dependency| format!("{}: must not depend on {}", package.name, dependency.name)).collect()
}

/// Names of all packages that a package contains, directly or not.
fn contained<'workspace>(workspace: &'workspace Workspace, id: &'workspace str) -> BTreeSet<&'workspace str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if let Some(resolved) = workspace.resolved.get(id) {
            open.extend(resolved.dependencies.iter().map(String::as_str).filter(|next| seen.insert(*next)));
        }
    }
    seen.iter().filter_map(|id| Some(workspace.resolved.get(*id)?.name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::{contained, of_package, violations};
    use crate::layers::rules::{CRATES, RIGS};
    use crate::layers::workspace::{Dependency, Kind, Package, Resolved, Workspace};

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: *kind })
            .collect();
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            folder: "/".into(),
            dependencies,
            targets: Vec::new(),
        }
    }

    fn of(name: &str, dependencies: &[(&str, Kind)]) -> Vec<String> {
        let rule = CRATES.iter().chain(RIGS).find(|rule| rule.name == super::short(name)).expect("a rule");
        of_package(&package(name, dependencies), rule, |name| name.starts_with("export-"))
    }

    #[test]
    fn layers_point_one_way() {
        assert_eq!(of("export-engine", &[("export-core", Kind::Normal)]), [""; 0]);
        assert_eq!(
            of("export-core", &[("export-engine", Kind::Normal)]),
            ["export-core: must not depend on export-engine"]
        );
        assert_eq!(
            of("export-api", &[("export-worker", Kind::Dev)]),
            ["export-api: must not depend on export-worker"]
        );
    }

    #[test]
    fn the_test_kit_is_for_tests_and_rigs() {
        assert_eq!(of("export-store", &[("export-testkit", Kind::Dev)]), [""; 0]);
        assert_eq!(of("export-faults", &[("export-testkit", Kind::Normal)]), [""; 0]);
        assert_eq!(of("export-store", &[("export-testkit", Kind::Normal)]).len(), 1);
    }

    #[test]
    fn drivers_stay_in_their_crate() {
        assert_eq!(of("export-amqp", &[("lapin", Kind::Normal)]), [""; 0]);
        assert_eq!(
            of("export-worker", &[("lapin", Kind::Normal)]),
            ["export-worker: must not depend on lapin"]
        );
        assert_eq!(of("export-cli", &[("lapin", Kind::Dev)]), [""; 0]);
    }

    #[test]
    fn pure_crates_are_pure_through_others_too() {
        let resolved = |name: &str, dependencies: &[&str]| {
            let dependencies = dependencies.iter().map(|&id| id.to_owned()).collect();
            (name.to_owned(), Resolved { name: name.to_owned(), dependencies })
        };
        let workspace = Workspace {
            packages: vec![package("export-core", &[("innocent", Kind::Normal)])],
            resolved: [
                resolved("export-core", &["innocent"]),
                resolved("innocent", &["tokio"]),
                resolved("tokio", &[]),
            ]
            .into(),
        };
        assert_eq!(contained(&workspace, "export-core").len(), 2);
        assert_eq!(violations(&workspace), ["export-core: must not contain tokio"]);
    }
}
