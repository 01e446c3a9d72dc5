//! The dependency graph of a crate's files: every path is followed, through all imports, to the file that defines the name.
//!
//! A `pub use` of a submodule is not a dependency: using a name through a facade is a dependency on the file that defines it.

use crate::syntax::{Module, Names};
use std::collections::{BTreeMap, BTreeSet};

/// Imports that are followed one after the other. More are a circle of imports.
const MAX_STEPS: usize = 16;

/// A crate's files, by the paths of their modules; the root is `crate`.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    uses: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Graph {
    pub(crate) fn new(modules: &[Module]) -> Self {
        let names = Resolver(modules);
        let mut uses: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for module in modules {
            let from = name(&modules[module.file]);
            let mut edges: Vec<(usize, &Names)> = Vec::new();
            for path in &module.paths {
                edges.extend(names.resolve(module, path, 0).and_then(Found::item).map(|to| (to, path)));
            }
            for path in &module.exports {
                let found = names.resolve(module, path, 0).and_then(Found::item);
                edges.extend(found.filter(|to| !modules[*to].path.starts_with(&module.path)).map(|to| (to, path)));
            }
            for path in &module.globs {
                edges.extend(names.resolve(module, path, 0).map(|found| (found.module(), path)));
            }
            let uses = uses.entry(from.clone()).or_default();
            for (to, path) in edges {
                let to = name(&modules[modules[to].file]);
                if to != from {
                    uses.entry(to).or_default().extend(path.last().cloned());
                }
            }
        }
        Self { uses }
    }

    /// The files that each file uses, and the names used.
    pub(crate) fn used_by(&self, file: &str) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.uses.get(file).into_iter().flatten().map(|(to, names)| (to.as_str(), names))
    }

    /// Removes an edge; returns whether it existed.
    pub(crate) fn remove(&mut self, from: &str, to: &str) -> bool {
        self.uses.get_mut(from).is_some_and(|uses| uses.remove(to).is_some())
    }

    /// The sibling graphs of the crate: for each module with submodules, which of those use which. A submodule includes everything below it.
    pub(crate) fn rooms(&self) -> BTreeMap<String, Self> {
        let mut rooms: BTreeMap<String, Self> = BTreeMap::new();
        for (from, uses) in &self.uses {
            for (to, names) in uses {
                let (one, other) = (segments(from), segments(to));
                let shared = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
                // A module and its ancestor are not siblings.
                let (Some(one), Some(other)) = (one.get(..=shared), other.get(..=shared)) else { continue };
                let room = rooms.entry(joined(&one[..shared])).or_default();
                room.uses.entry(joined(other)).or_default();
                room.uses.entry(joined(one)).or_default().entry(joined(other)).or_default().extend(names.iter().cloned());
            }
        }
        rooms
    }

    /// Files in layers: each uses only files of layers before its own, or files that it is in a circle with.
    pub(crate) fn layers(&self) -> Vec<Vec<&str>> {
        let mut layers: Vec<Vec<&str>> = Vec::new();
        let mut left: BTreeSet<&str> = self.uses.keys().map(String::as_str).collect();
        while !left.is_empty() {
            let layer: Vec<&str> = left
                .iter()
                .copied()
                .filter(|it| self.reached(it).iter().all(|to| !left.contains(to) || self.reached(to).contains(it)))
                .collect();
            layer.iter().for_each(|it| {
                left.remove(it);
            });
            layers.push(layer);
        }
        layers
    }

    /// Circles: groups of files each of which uses all others of its group, through others or not.
    pub(crate) fn circles(&self) -> Vec<Vec<&str>> {
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for from in self.uses.keys() {
            let reached = self.reached(from);
            if !reached.contains(from.as_str()) || seen.contains(from.as_str()) {
                continue;
            }
            let circle: Vec<&str> = reached.into_iter().filter(|to| self.reached(to).contains(from.as_str())).collect();
            seen.extend(circle.iter().copied());
            circles.push(circle);
        }
        circles
    }

    /// All that a file uses, through others or not; itself, if it is in a circle.
    fn reached(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut left = vec![from];
        while let Some(next) = left.pop() {
            for to in self.uses.get(next).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(to.as_str()) {
                    left.push(to);
                }
            }
        }
        reached
    }
}

/// The target of a path.
#[derive(Debug, Clone, Copy)]
enum Found {
    Module(usize),
    /// An item defined by the module.
    Item(usize),
}

impl Found {
    fn item(self) -> Option<usize> {
        match self {
            // Whoever names a module uses what he then takes from it.
            Self::Module(_) => None,
            Self::Item(module) => Some(module),
        }
    }

    fn module(self) -> usize {
        match self {
            Self::Module(module) | Self::Item(module) => module,
        }
    }
}

struct Resolver<'a>(&'a [Module]);

impl Resolver<'_> {
    /// The target of a path in a module; `None` if it is in another crate.
    fn resolve(&self, module: &Module, path: &[String], steps: usize) -> Option<Found> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(&self.0[0], rest, steps),
            "self" => self.walk(module, rest, steps),
            "super" => {
                let more = rest.iter().take_while(|it| *it == "super").count();
                let up = (0..=more).fold(module, |module, _| &self.0[module.parent]);
                self.walk(up, &rest[more..], steps)
            }
            _ => self.walk(module, path, steps),
        }
    }

    /// Resolves the rest of a path from a module.
    fn walk(&self, module: &Module, path: &[String], steps: usize) -> Option<Found> {
        let Some(first) = path.first() else { return Some(Found::Module(module.at)) };
        self.own(module, path, steps).or_else(|| {
            // Glob imports are searched last and not recursively, since almost all are of other crates.
            let from = module.globs.iter().filter(|glob| glob.first() != Some(first));
            from.filter_map(|glob| if is_rooted(glob) { self.resolve(module, glob, steps + 1) } else { self.own(module, glob, steps + 1) })
                .find_map(|found| self.own(&self.0[found.module()], path, steps + 1))
        })
    }

    /// The same, but for what globs bring.
    fn own(&self, module: &Module, path: &[String], steps: usize) -> Option<Found> {
        let Some((first, rest)) = path.split_first() else { return Some(Found::Module(module.at)) };
        if steps > MAX_STEPS {
            return None;
        }
        let item = module.items.contains(first).then_some(Found::Item(module.at));
        if let Some(child) = module.children.get(first) {
            // A function may have the name of a module. A name that is not found is generated by a macro.
            return self.walk(&self.0[*child], rest, steps + 1).or(item).or(Some(Found::Item(*child)));
        }
        item.or_else(|| {
            let alias = module.aliases.get(first).filter(|alias| alias.first() != Some(first))?;
            let full: Names = alias.iter().chain(rest).cloned().collect();
            self.resolve(module, &full, steps + 1)
        })
    }
}

/// Does a path say from where it goes?
fn is_rooted(path: &[String]) -> bool {
    path.first().is_some_and(|first| matches!(first.as_str(), "crate" | "self" | "super"))
}

fn name(module: &Module) -> String {
    if module.path.is_empty() { "crate".to_owned() } else { module.path.join("::") }
}

fn segments(name: &str) -> Vec<&str> {
    if name == "crate" { Vec::new() } else { name.split("::").collect() }
}

fn joined(segments: &[&str]) -> String {
    if segments.is_empty() { "crate".to_owned() } else { segments.join("::") }
}
