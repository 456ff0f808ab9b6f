//! The module tree of one build target, and which file imports from which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::paths::{FileFacts, facts};

/// A module's path below the root; empty for the root.
pub(super) type ModulePath = Vec<String>;

/// Re-exports may lead to re-exports.
const MAX_REEXPORTS: usize = 16;

/// All files of a build target.
#[derive(Debug, Default)]
pub(super) struct Modules {
    facts: BTreeMap<ModulePath, FileFacts>,
}

impl Modules {
    /// Follows `mod name;` from the target's root file.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let folder = root.parent().context("a root file is in a folder")?;
        let mut modules = Self::default();
        modules.add(Vec::new(), root, folder)?;
        Ok(modules)
    }

    /// `folder` is where the module's children are.
    fn add(&mut self, path: ModulePath, file: &Path, folder: &Path) -> anyhow::Result<()> {
        let source = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let facts = facts(&source);
        for child in &facts.children {
            let below = folder.join(child);
            let candidates: [PathBuf; 2] = [folder.join(format!("{child}.rs")), below.join("mod.rs")];
            let Some(file) = candidates.iter().find(|file| file.is_file()) else {
                bail!("{}: no file for `mod {child};`", file.display());
            };
            let mut path = path.clone();
            path.push(child.clone());
            self.add(path, file, &below)?;
        }
        self.facts.insert(path, facts);
        Ok(())
    }

    /// For each file, the files it imports from, other than its ancestors and descendants.
    pub(super) fn imports(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let of = |module: &ModulePath, facts: &FileFacts| -> BTreeSet<ModulePath> {
            let targets = facts.mentioned.iter().filter_map(|path| self.resolve(module, path, MAX_REEXPORTS));
            targets.filter(|target| !target.starts_with(module) && !module.starts_with(target)).collect()
        };
        self.facts.iter().map(|(module, facts)| (module.clone(), of(module, facts))).collect()
    }

    /// The file that defines what a path in this module stands for; `None` outside of the crate.
    fn resolve(&self, from: &ModulePath, path: &[String], reexports_left: usize) -> Option<ModulePath> {
        let (mut module, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => (from.clone(), path),
            name if self.facts[from].children.iter().any(|child| child == name) => (from.clone(), path),
            _ => return None,
        };
        while rest.first().is_some_and(|segment| segment == "super") {
            module.pop()?;
            rest = &rest[1..];
        }
        while let Some((name, after)) = rest.split_first() {
            let facts = &self.facts[&module];
            if facts.children.contains(name) {
                module.push(name.clone());
                rest = after;
                continue;
            }
            if facts.defined.contains(name) || reexports_left == 0 {
                break;
            }
            let imported = facts.imported.iter().filter(|(imported, _)| imported == name);
            let named = imported.map(|(_, path)| path.clone());
            let through_globs =
                facts.globs.iter().map(|glob| glob.iter().chain([name]).cloned().collect::<Vec<_>>());
            let defining = named
                .chain(through_globs)
                .filter_map(|path| self.resolve(&module, &path, reexports_left - 1))
                .find(|target| *target != module);
            return Some(defining.unwrap_or(module));
        }
        Some(module)
    }

    #[cfg(test)]
    pub(super) fn from_sources(sources: &[(&str, &str)]) -> Self {
        let split =
            |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { facts: sources.iter().map(|(path, source)| (split(path), facts(source))).collect() }
    }
}

/// As errors print it.
pub(super) fn display(module: &ModulePath) -> String {
    if module.is_empty() { "the crate's root".to_owned() } else { module.join("::") }
}

#[cfg(test)]
mod tests {
    use super::{Modules, display};

    fn imports(sources: &[(&str, &str)], from: &str) -> Vec<String> {
        let from: Vec<String> = from.split("::").map(str::to_owned).collect();
        Modules::from_sources(sources).imports()[&from].iter().map(display).collect()
    }

    #[test]
    fn a_path_leads_to_the_deepest_file() {
        let sources =
            [("", "mod a; mod b;"), ("a", "use crate::b::c::D;"), ("b", "mod c;"), ("b::c", "struct D;")];
        assert_eq!(imports(&sources, "a"), ["b::c"]);
    }

    #[test]
    fn parents_and_children_do_not_count() {
        let sources = [
            ("", "mod a; struct X;"),
            ("a", "mod b; use self::b::Y; use crate::X;"),
            ("a::b", "use super::Z;"),
        ];
        assert_eq!(imports(&sources, "a"), Vec::<String>::new());
        assert_eq!(imports(&sources, "a::b"), Vec::<String>::new());
    }

    #[test]
    fn reexports_lead_to_the_file_that_defines() {
        let sources = [
            ("", "mod a; mod b; mod c; pub use b::B; pub use c::*;"),
            ("a", "use crate::{B, C};"),
            ("b", "pub struct B;"),
            ("c", "pub struct C;"),
        ];
        assert_eq!(imports(&sources, "a"), ["b", "c"]);
    }

    #[test]
    fn super_leads_to_siblings() {
        let sources = [
            ("", "mod a;"),
            ("a", "mod b; mod c;"),
            ("a::b", "fn f() { super::c::g(); }"),
            ("a::c", "fn g() {}"),
        ];
        assert_eq!(imports(&sources, "a::b"), ["a::c"]);
    }
}
