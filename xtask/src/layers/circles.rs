//! No circle of imports between files, except between a module and its ancestors.
//!
//! A circle means that none of its files can be read, tested or moved alone. A parent and its child
//! are one unit to a reader, so imports between them are allowed.

use std::collections::{BTreeMap, BTreeSet};

use super::known_circles::KNOWN;
use super::modules::{ModulePath, Modules, display};
use super::workspace::Workspace;

/// One line per circle that is not in the list, and per entry of the list that is out of date.
pub(super) fn violations(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut violations = Vec::new();
    for package in &workspace.packages {
        for target in &package.targets {
            let imports = Modules::read(&target.root)?.imports();
            for circle in circles(&imports) {
                let name = format!("{}/{}", package.name, target.name);
                let modules: Vec<String> = circle.iter().map(display).collect();
                if !is_known(&name, &modules) {
                    violations.push(format!("{name}: {}", describe(&circle, &imports)));
                }
                found.insert((name, modules));
            }
        }
    }
    let is_found = |name: &str, modules: &[&str]| {
        found.iter().any(|(found, circle)| found == name && *circle == modules)
    };
    let outdated = KNOWN.iter().filter(|(name, modules)| !is_found(name, modules));
    violations.extend(outdated.map(|(name, modules)| {
        format!(
            "{name}: the known circle of {} is gone or smaller: remove it from known_circles.rs",
            modules.join(", ")
        )
    }));
    Ok(violations)
}

fn is_known(name: &str, modules: &[String]) -> bool {
    KNOWN.iter().any(|(known, circle)| *known == name && *circle == modules)
}

/// The circle's files and the imports between them.
fn describe(circle: &BTreeSet<ModulePath>, imports: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> String {
    let lines = circle.iter().map(|module| {
        let inside: Vec<String> = imports[module].intersection(circle).map(display).collect();
        format!("\n    {} imports {}", display(module), inside.join(", "))
    });
    format!("circle of {} files{}", circle.len(), lines.collect::<String>())
}

/// The sets of files in which each can be reached from each.
fn circles(imports: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<BTreeSet<ModulePath>> {
    let reachable: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
        imports.keys().map(|module| (module, reachable(module, imports))).collect();
    let mut circles: Vec<BTreeSet<ModulePath>> = Vec::new();
    for (module, ahead) in &reachable {
        let is_mutual = |other: &&&ModulePath| reachable[**other].contains(*module);
        let circle: BTreeSet<ModulePath> =
            ahead.iter().filter(is_mutual).map(|&other| other.clone()).collect();
        if !circle.is_empty() && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

fn reachable<'graph>(
    from: &'graph ModulePath,
    imports: &'graph BTreeMap<ModulePath, BTreeSet<ModulePath>>,
) -> BTreeSet<&'graph ModulePath> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        open.extend(imports[module].iter().filter(|next| seen.insert(*next)));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::{circles, describe};
    use crate::layers::modules::Modules;

    #[test]
    fn a_circle_is_found_with_its_imports() {
        let sources = [
            ("", "mod a; mod b; mod c; mod d;"),
            ("a", "use crate::b::B;"),
            ("b", "use crate::c::C;"),
            ("c", "use crate::a::A; use crate::d::D;"),
            ("d", "struct D;"),
        ];
        let imports = Modules::from_sources(&sources).imports();
        let [circle] = &circles(&imports)[..] else { panic!("one circle") };
        let text = describe(circle, &imports);
        assert_eq!(text, "circle of 3 files\n    a imports b\n    b imports c\n    c imports a");
    }

    #[test]
    fn a_diamond_is_no_circle() {
        let sources = [
            ("", "mod a; mod b; mod c;"),
            ("a", "use crate::b::B; use crate::c::C;"),
            ("b", "use crate::c::C;"),
            ("c", "use crate::X;"),
        ];
        assert!(circles(&Modules::from_sources(&sources).imports()).is_empty());
    }
}
