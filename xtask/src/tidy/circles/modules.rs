//! The module tree of one crate, and the resolution of paths to the files that define them.

use std::collections::{BTreeMap, BTreeSet};

use super::outline::{Import, Named, Outline, outline};
use crate::tidy::rust_source::without_prose;

/// Source files by their path from the root of the tree.
pub type Sources<'a> = BTreeMap<&'a str, &'a str>;

/// Path of a module from the root of its crate.
type Path = Vec<String>;

/// Maximum number of re-exports followed for one name. The compiler refuses circular re-exports; this bound only ends the
/// search.
const MOST_HOPS: usize = 16;

/// One module: a file, or a part of one.
#[derive(Default)]
struct Module {
    file: String,
    items: BTreeSet<String>,
    imports: Vec<Import>,
}

/// All modules reachable from one root file.
#[derive(Default)]
pub struct Modules {
    by_path: BTreeMap<Path, Module>,
    /// Every path in the code, with the module that contains it.
    named: Vec<(Path, Named)>,
}

/// One import of a file by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: String,
    pub to: String,
    /// Line of the path in `from`.
    pub line: usize,
}

/// What a path resolves to.
enum Target {
    Module(Path),
    /// An item, in a module.
    Item(Path),
}

impl Modules {
    /// Reads the crate whose root is `root`, following its `mod` declarations.
    pub fn read(root: &str, sources: &Sources<'_>) -> Self {
        let mut modules = Self::default();
        let folder = folder_of(root);
        modules.add(&Vec::new(), root, folder, sources);
        modules
    }

    /// Adds the module `path` in `file`, and the modules that it declares. `folder` holds the files of its children.
    fn add(&mut self, path: &Path, file: &str, folder: &str, sources: &Sources<'_>) {
        let Some(text) = sources.get(file) else { return };
        let outline = outline(&without_prose(text));
        for inline in std::iter::once(&Vec::new()).chain(&outline.inline) {
            let module = Module { file: file.to_owned(), ..Module::default() };
            self.by_path.entry([path.clone(), inline.clone()].concat()).or_insert(module);
        }
        self.contents(path, &outline);
        for declared in &outline.declared {
            let inner = declared.within.iter().fold(folder.to_owned(), |folder, name| join(&folder, name));
            let child = [path.clone(), declared.within.clone(), vec![declared.name.clone()]].concat();
            if let Some(given) = path_attribute(text, declared.line) {
                let file = join(folder_of(file), given);
                self.add(&child, &file, folder_of(&file), sources);
                continue;
            }
            let own = join(&inner, &declared.name);
            for file in [format!("{own}.rs"), format!("{own}/mod.rs")] {
                self.add(&child, &file, &own, sources);
            }
        }
    }

    fn contents(&mut self, path: &Path, outline: &Outline) {
        for (within, name) in &outline.items {
            if let Some(module) = self.by_path.get_mut(&[path.clone(), within.clone()].concat()) {
                module.items.insert(name.clone());
            }
        }
        for import in &outline.imports {
            if let Some(module) = self.by_path.get_mut(&[path.clone(), import.within.clone()].concat()) {
                module.imports.push(import.clone());
            }
        }
        let named = outline.named.iter();
        self.named.extend(named.map(|named| ([path.clone(), named.within.clone()].concat(), named.clone())));
    }

    /// Returns the imports of files by files, as the module `circles` defines them.
    pub fn edges(&self) -> BTreeSet<Edge> {
        let edges = self.named.iter().filter_map(|(path, named)| {
            let from = &self.by_path.get(path)?.file;
            let (Target::Module(target) | Target::Item(target)) = self.resolve(path, &named.path, 0)?;
            let to = &self.by_path.get(&target)?.file;
            (from != to && !target.starts_with(path)).then(|| Edge {
                from: from.clone(),
                to: to.clone(),
                line: named.line,
            })
        });
        edges.collect()
    }

    /// Resolves a path in the module `from`. `None`: the path leads out of this crate.
    fn resolve(&self, from: &Path, path: &[String], hops: usize) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Target::Module(Vec::new()),
            "self" => Target::Module(from.clone()),
            "super" => {
                let mut at = from.clone();
                at.pop()?;
                while let Some((_, further)) = rest.split_first().filter(|(next, _)| *next == "super") {
                    at.pop()?;
                    rest = further;
                }
                Target::Module(at)
            }
            _ => self.member(from, first, hops)?,
        };
        rest.iter().try_fold(start, |target, name| match target {
            // `Item::name` is in the item's file.
            Target::Item(_) => Some(target),
            Target::Module(path) => Some(self.member(&path, name, hops).unwrap_or(Target::Item(path))),
        })
    }

    /// Resolves `name` in a module: a child module, an item, or an imported name.
    fn member(&self, path: &Path, name: &String, hops: usize) -> Option<Target> {
        let child = [path.as_slice(), std::slice::from_ref(name)].concat();
        if self.by_path.contains_key(&child) {
            return Some(Target::Module(child));
        }
        let module = self.by_path.get(path)?;
        if module.items.contains(name) {
            return Some(Target::Item(path.clone()));
        }
        if hops == MOST_HOPS {
            return None;
        }
        let named = module.imports.iter().filter(|import| import.name.as_ref() == Some(name));
        let named = named.filter(|import| import.path.first() != Some(name) || import.path.len() > 1);
        if let Some(target) = named.filter_map(|import| self.resolve(path, &import.path, hops + 1)).next() {
            return Some(target);
        }
        let globs = module.imports.iter().filter(|import| import.name.is_none());
        globs.filter_map(|import| self.behind_glob(path, import, name, hops)).next()
    }

    /// Resolves `name` through the glob import `import` of the module `path`.
    fn behind_glob(&self, path: &Path, import: &Import, name: &String, hops: usize) -> Option<Target> {
        match self.resolve(path, &import.path, hops + 1)? {
            Target::Module(behind) if behind != *path => self.member(&behind, name, hops + 1),
            _ => None,
        }
    }
}

/// Returns the file named by `#[path = "…"]` on the line before a module declaration.
fn path_attribute(text: &str, line: usize) -> Option<&str> {
    let before = text.lines().nth(line.checked_sub(2)?)?;
    before.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Joins two paths and resolves `..`.
fn join(folder: &str, more: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in more.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(sources: &[(&str, &str)]) -> Vec<String> {
        let edges = Modules::read("src/lib.rs", &sources.iter().copied().collect()).edges();
        edges.into_iter().map(|edge| format!("{}:{} {}", edge.from, edge.line, edge.to)).collect()
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_it() {
        let found = edges(&[
            ("src/lib.rs", "mod a;\nmod b;"),
            ("src/a.rs", "use crate::b::c::D;\nfn e() { crate::b::F::new() }"),
            ("src/b/mod.rs", "pub mod c;\npub struct F;"),
            ("src/b/c.rs", "pub struct D;\nuse super::F;"),
        ]);
        assert_eq!(found, ["src/a.rs:1 src/b/c.rs", "src/a.rs:2 src/b/mod.rs", "src/b/c.rs:2 src/b/mod.rs"]);
    }

    #[test]
    fn a_re_export_leads_on() {
        let found = edges(&[
            ("src/lib.rs", "mod a;\nmod b;\npub use b::D;"),
            ("src/a.rs", "use crate::D;\nuse crate::b::E;"),
            ("src/b/mod.rs", "mod c;\npub use c::*;"),
            ("src/b/c.rs", "pub struct D;\npub struct E;"),
        ]);
        assert_eq!(found, ["src/a.rs:1 src/b/c.rs", "src/a.rs:2 src/b/c.rs"]);
    }

    #[test]
    fn a_module_may_name_its_children_and_other_crates() {
        let found = edges(&[
            ("src/lib.rs", "mod a;\nuse std::fs;\nuse a::B;\nfn f() { self::a::g(); a::g(); fs::read(); }"),
            ("src/a.rs", "pub struct B;\npub fn g() {}"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_module_is_found_where_its_attribute_says() {
        let found = edges(&[
            ("src/lib.rs", "#[path = \"../other/a.rs\"]\nmod a;\nmod b { mod c; }\nstruct D;"),
            ("other/a.rs", "use super::D;"),
            ("src/b/c.rs", "use super::super::D;"),
        ]);
        assert_eq!(found, ["other/a.rs:1 src/lib.rs", "src/b/c.rs:1 src/lib.rs"]);
    }
}
