//! Finds circles of files that import each other. Each target of each crate is searched on its own: Cargo already refuses
//! circles of crates.

// What counts. An edge leads from a file to another file if the first names something that the second defines:
// * by a `use` (public or not, at any depth, each branch of a tree, globs), or by a path in the code;
// * the path begins with `crate`, `super`, `self`, a child module, or a name that the module imports;
// * the path is resolved to the module with the longest matching prefix, and through imports and re-exports to the file
//   that defines the item. A re-export in `mod.rs` therefore does not make every user of it depend on `mod.rs`.
//
// What does not count:
// * `mod name;`;
// * a path from a module down to its own descendants: a module may call and re-export the parts that it is made of, and
//   these parts may use what the module itself defines. Parts that use each other in a circle do count;
// * items under `#[cfg(test)]` or `#[cfg(all(test, …))]`, and files that only such a `mod` declares: tests may look back;
// * paths to other crates, and what only macro expansion or method calls reach.
//
// A circle is a strongly connected component of two files or more.

mod components;
mod modules;
mod outline;
mod tokens;

use std::collections::BTreeSet;

use self::components::Graph;
use self::modules::{Edge, Modules, Sources};
use super::{Complaint, TextFile};

/// Reports each circle of the crates with these root files once.
pub fn check(roots: &[String], files: &[TextFile]) -> Vec<Complaint> {
    let sources: Sources<'_> = files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let mut reported = BTreeSet::new();
    let mut complaints = Vec::new();
    for root in roots {
        let edges = Modules::read(root, &sources).edges();
        let mut graph = Graph::new();
        for edge in &edges {
            graph.entry(edge.from.clone()).or_default().insert(edge.to.clone());
        }
        for circle in components::circles(&graph) {
            if reported.insert(circle.clone()) {
                complaints.extend(complaint(&circle, &edges));
            }
        }
    }
    complaints
}

/// Says which files are in the circle, with one import of each that is part of it.
fn complaint(circle: &[String], edges: &BTreeSet<Edge>) -> Option<Complaint> {
    let within = |edge: &&Edge| circle.contains(&edge.from) && circle.contains(&edge.to);
    let mut what = format!("is in a circle of {} files that import each other:", circle.len());
    for file in circle {
        let edge =
            edges.iter().filter(within).filter(|edge| edge.from == *file).min_by_key(|edge| edge.line)?;
        what.push_str(&format!("\n    {}:{} → {}", edge.from, edge.line, edge.to));
    }
    Some(Complaint { file: circle.first()?.clone(), line: 0, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(sources: &[(&str, &str)]) -> Vec<Complaint> {
        let file =
            |(path, text): &(&str, &str)| TextFile { path: (*path).to_owned(), text: (*text).to_owned() };
        check(&["src/lib.rs".to_owned()], &sources.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn a_circle_is_reported_once_with_an_import_of_each_file() {
        let found = complaints(&[
            ("src/lib.rs", "mod a;\nmod b;\nmod c;"),
            ("src/a.rs", "use crate::b::B;\npub struct A;"),
            ("src/b.rs", "\nuse super::a::A;\npub struct B;"),
            ("src/c.rs", "use crate::a::A;"),
        ]);
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(one.file, "src/a.rs");
        assert!(one.what.contains("\n    src/a.rs:1 → src/b.rs\n    src/b.rs:2 → src/a.rs"), "{}", one.what);
        assert!(!one.what.contains("src/c.rs"));
    }

    #[test]
    fn tests_may_look_back() {
        let found = complaints(&[
            ("src/lib.rs", "mod a;\nmod b;"),
            ("src/a.rs", "use crate::b::B;\npub struct A;"),
            (
                "src/b.rs",
                "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n#[cfg(test)]\nmod more;",
            ),
            ("src/b/more.rs", "use crate::a::A;"),
        ]);
        assert_eq!(found, []);
    }
}
