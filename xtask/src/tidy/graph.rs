//! What `cargo metadata` says, as far as the rules need it.

use crate::run::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// A dependency as a manifest states it.
#[derive(Clone, Debug)]
pub(crate) struct Arrow {
    pub(crate) to: String,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) license: String,
    pub(crate) publish: bool,
    pub(crate) member: bool,
    pub(crate) dir: PathBuf,
    pub(crate) arrows: Vec<Arrow>,
    /// Ids of what it is linked with (normal and build edges, all features on).
    links: Vec<String>,
}

/// All packages by id.
#[derive(Clone, Debug)]
pub(crate) struct Graph(BTreeMap<String, Package>);

impl Graph {
    pub(crate) fn parse(metadata: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(metadata)?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let members: BTreeSet<String> =
            list(&metadata, "workspace_members").iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect();
        let mut packages = BTreeMap::new();
        for package in list(&metadata, "packages") {
            let id = text(&package, "id");
            let arrows = list(&package, "dependencies").into_iter().map(|dependency| Arrow {
                to: text(&dependency, "name"),
                kind: kind(&dependency),
                optional: dependency.get("optional").and_then(Value::as_bool).unwrap_or(false),
            });
            let manifest = PathBuf::from(text(&package, "manifest_path"));
            let known = Package {
                name: text(&package, "name"),
                license: text(&package, "license"),
                // `publish: []` is how `publish = false` shows.
                publish: package.get("publish").is_none_or(Value::is_null),
                member: members.contains(&id),
                dir: manifest.parent().map(PathBuf::from).unwrap_or_default(),
                arrows: arrows.collect(),
                links: Vec::new(),
            };
            packages.insert(id, known);
        }
        for node in metadata.pointer("/resolve/nodes").and_then(Value::as_array).into_iter().flatten() {
            let links = list(node, "deps")
                .into_iter()
                .filter(|dep| list(dep, "dep_kinds").iter().any(|dep_kind| kind(dep_kind) != Kind::Dev));
            let links: Vec<String> = links.map(|dep| text(&dep, "pkg")).collect();
            if let Some(package) = packages.get_mut(&text(node, "id")) {
                package.links = links;
            }
        }
        Ok(Self(packages))
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.0.values().filter(|package| package.member)
    }

    /// Everything that ends up in a binary of `package`, itself not included; `skip` names edges not to follow.
    pub(crate) fn linked(&self, package: &Package, skip: impl Fn(&Package, &Package) -> bool) -> Vec<&Package> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut todo = vec![package];
        while let Some(from) = todo.pop() {
            for (id, to) in from.links.iter().filter_map(|id| Some((id, self.0.get(id)?))) {
                if !skip(from, to) && seen.insert(id) {
                    found.push(to);
                    todo.push(to);
                }
            }
        }
        found
    }

    /// Adds an arrow, both to the manifest and to the links: for tests of the rules.
    #[cfg(test)]
    pub(crate) fn with_arrow(mut self, from: &str, to: &str, kind: Kind, optional: bool) -> Self {
        let id = self.0.iter().find(|(_, package)| package.name == to).map(|(id, _)| id.clone()).unwrap();
        let package = self.0.values_mut().find(|package| package.name == from).unwrap();
        package.arrows.push(Arrow { to: to.to_owned(), kind, optional });
        if kind != Kind::Dev {
            package.links.push(id);
        }
        self
    }
}

fn kind(value: &Value) -> Kind {
    match value.get("kind").and_then(Value::as_str) {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}
