//! The workspace as `cargo metadata` describes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::foreground;
use crate::layout::Layout;
use crate::programs::{BUILD_LIMIT, cargo};

/// The workspace's own packages and the resolved dependencies.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) packages: Vec<Package>,
    /// By package id: its name and the ids of its normal dependencies, with the features that this
    /// workspace enables.
    pub(super) resolved: BTreeMap<String, Resolved>,
}

/// One of the workspace's packages.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) targets: Vec<Target>,
}

/// A declared dependency.
#[derive(Debug)]
pub(super) struct Dependency {
    /// As the sources write it.
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// The kind of a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Dev,
    Build,
}

/// A library, a program, a test, an example or a benchmark.
#[derive(Debug)]
pub(super) struct Target {
    /// `lib`, or kind and name: `bin exports`.
    pub(super) name: String,
    /// Its first file.
    pub(super) root: PathBuf,
}

/// A package of any origin.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) dependencies: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(super) fn read(layout: &Layout) -> anyhow::Result<Self> {
        let mut command = cargo(layout);
        command.args(["metadata", "--format-version", "1", "--locked"]);
        let (status, text) = foreground::capture(&mut command, BUILD_LIMIT)?;
        ensure!(status.success(), "cargo metadata failed ({status})");
        parse(&serde_json::from_str(&text)?)
    }
}

fn parse(metadata: &Value) -> anyhow::Result<Workspace> {
    let members: Vec<&str> = strings(&metadata["workspace_members"]);
    let mut names = BTreeMap::new();
    let mut packages = Vec::new();
    for package in list(&metadata["packages"]) {
        let id = package["id"].as_str().context("a package has an id")?;
        names.insert(id, package["name"].as_str().context("a package has a name")?);
        if members.contains(&id) {
            packages.push(member(package).with_context(|| id.to_owned())?);
        }
    }
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    let mut resolved = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let id = node["id"].as_str().context("a node has an id")?;
        let is_normal =
            |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let normal = list(&node["deps"]).iter().filter(is_normal);
        let dependencies =
            normal.filter_map(|dependency| Some(dependency["pkg"].as_str()?.to_owned())).collect();
        let name = names.get(id).copied().with_context(|| format!("{id} is not among the packages"))?;
        resolved.insert(id.to_owned(), Resolved { name: name.to_owned(), dependencies });
    }
    Ok(Workspace { packages, resolved })
}

fn member(package: &Value) -> anyhow::Result<Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text is missing");
    let manifest = PathBuf::from(text(&package["manifest_path"])?);
    let dependencies = list(&package["dependencies"]).iter().map(|dependency| {
        let name = dependency["rename"]
            .as_str()
            .map_or_else(|| text(&dependency["name"]), |name| Ok(name.to_owned()))?;
        let kind = match dependency["kind"].as_str() {
            None => Kind::Normal,
            Some("dev") => Kind::Dev,
            Some(_) => Kind::Build,
        };
        Ok(Dependency { name, kind })
    });
    let targets = list(&package["targets"]).iter().map(|target| {
        let kind = strings(&target["kind"]).first().copied().context("a target has a kind")?.to_owned();
        let name = if kind == "lib" { kind } else { format!("{kind} {}", text(&target["name"])?) };
        Ok(Target { name, root: text(&target["src_path"])?.into() })
    });
    Ok(Package {
        id: text(&package["id"])?,
        name: text(&package["name"])?,
        folder: manifest.parent().map(Path::to_path_buf).context("a manifest is in a folder")?,
        dependencies: dependencies.collect::<anyhow::Result<_>>()?,
        targets: targets.collect::<anyhow::Result<_>>()?,
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}
