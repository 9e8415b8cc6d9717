//! Borders between the crates, read from what cargo resolves: the engine does no IO, the report knows no transport, the client
//! runs on every system, and all arrows point inwards.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use super::Complaint;
use crate::workspace;

const ENGINE: &str = "portolan-engine";
const REPORT: &str = "portolan-report";
const CLIENT: &str = "portolan-client";
const AGENT: &str = "portolan";
const TESTING: &str = "portolan-testing";

/// The crates from the inside to the outside: each may depend on those before it, and on none behind it.
const ORDER: [&str; 4] = [ENGINE, REPORT, CLIENT, AGENT];

/// All direct dependencies that the engine may have. None of them does IO.
const ENGINE_DEPENDENCIES: [&str; 2] = ["ipnet", "thiserror"];
/// Crates that the report may not reach: runtimes, transports, the kernel, the API server.
const NOT_IN_REPORT: [&str; 4] = ["tokio", "hyper", "aya", "kube"];
/// Systems other than Linux that the client must build for.
const CLIENT_TARGETS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-pc-windows-msvc"];
/// Crates that exist for Linux only.
const LINUX_ONLY: [&str; 7] =
    ["aya", "inotify", "io-uring", "linux-raw-sys", "netlink", "portolan-ebpf", "procfs"];

/// Checks the crates of this workspace.
///
/// # Errors
/// If cargo cannot resolve the dependencies.
pub fn check() -> Result<Vec<Complaint>> {
    let all = Graph::new(&metadata(None)?);
    let mut complaints = absent(&all);
    complaints.extend(directions(&all));
    complaints.extend(engine(&all));
    complaints.extend(report(&all));
    for target in CLIENT_TARGETS {
        complaints.extend(client(&Graph::new(&metadata(Some(target))?), target));
    }
    Ok(complaints)
}

/// Resolves the dependencies, for one target or for all.
fn metadata(target: Option<&str>) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.current_dir(workspace::root()).other_options(["--locked".to_owned()]);
    if let Some(target) = target {
        command.other_options(["--locked", "--filter-platform", target].map(str::to_owned));
    }
    Ok(command.exec()?)
}

/// A dependency: the dependent crate, the kind, and the crate it depends on.
type Arrow = (String, DependencyKind, String);

/// The dependencies between crates, by crate name.
#[derive(Default)]
struct Graph {
    crates: BTreeSet<String>,
    arrows: Vec<Arrow>,
}

impl Graph {
    fn new(metadata: &Metadata) -> Self {
        let names: BTreeMap<&PackageId, String> =
            metadata.packages.iter().map(|package| (&package.id, package.name.to_string())).collect();
        let mut graph = Self::default();
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            let Some(from) = names.get(&node.id) else { continue };
            graph.crates.insert(from.clone());
            for dependency in &node.deps {
                let Some(to) = names.get(&dependency.pkg) else { continue };
                let kinds = dependency.dep_kinds.iter();
                graph.arrows.extend(kinds.map(|kind| (from.clone(), kind.kind, to.clone())));
            }
        }
        graph
    }

    /// Returns the direct dependencies of a crate, of every kind.
    fn direct<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a Arrow> {
        self.arrows.iter().filter(move |(arrow, _, _)| arrow == from)
    }

    /// Returns every crate that is linked into `from`, with the path of dependencies to it. Build scripts are not linked.
    fn linked(&self, from: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![(from.to_owned(), from.to_owned())];
        while let Some((name, path)) = open.pop() {
            for (_, kind, to) in self.direct(&name) {
                if *kind == DependencyKind::Normal && !found.contains_key(to) {
                    let path = format!("{path} → {to}");
                    found.insert(to.clone(), path.clone());
                    open.push((to.clone(), path));
                }
            }
        }
        found
    }
}

fn absent(graph: &Graph) -> Vec<Complaint> {
    let expected = ORDER.iter().chain([&TESTING]);
    let absent = expected.filter(|name| !graph.crates.contains(**name));
    absent
        .map(|name| complain(format!("the workspace has no crate {name}, whose borders are checked")))
        .collect()
}

/// Checks that no crate depends on one further out, and that only tests depend on the crate for tests.
fn directions(graph: &Graph) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (from, kind, to) in &graph.arrows {
        let rank = |name: &String| ORDER.iter().position(|crate_name| crate_name == name);
        if let (Some(inner), Some(outer)) = (rank(from), rank(to))
            && inner < outer
        {
            complaints.push(complain(format!(
                "{from} depends on {to}: arrows point inwards only ({})",
                ORDER.join(" ← ")
            )));
        }
        if to == TESTING && *kind != DependencyKind::Development {
            complaints.push(complain(format!(
                "{from} depends on {TESTING}, which is for tests: make it a dev-dependency"
            )));
        }
    }
    complaints
}

fn engine(graph: &Graph) -> Vec<Complaint> {
    let direct = graph.direct(ENGINE).filter(|(_, kind, _)| *kind != DependencyKind::Development);
    let refused = direct.filter(|(_, _, to)| !ENGINE_DEPENDENCIES.contains(&to.as_str()));
    refused
        .map(|(from, _, to)| {
            complain(format!(
                "{from} depends on {to}; it may depend on {} only: the engine does no IO",
                ENGINE_DEPENDENCIES.join(" and ")
            ))
        })
        .collect()
}

fn report(graph: &Graph) -> Vec<Complaint> {
    let linked = graph.linked(REPORT).into_iter().filter(|(name, _)| is_one_of(name, &NOT_IN_REPORT));
    linked
        .map(|(_, path)| complain(format!("{path}: the report knows no runtime, transport or kernel")))
        .collect()
}

fn client(graph: &Graph, target: &str) -> Vec<Complaint> {
    let linked = graph.linked(CLIENT).into_iter().filter(|(name, _)| is_one_of(name, &LINUX_ONLY));
    linked
        .map(|(_, path)| complain(format!("{path} on {target}: this crate exists for Linux only")))
        .collect()
}

/// Returns true if the crate is one of `families`, or named like a part of one (`aya-obj`, `tokio-util`).
fn is_one_of(name: &str, families: &[&str]) -> bool {
    families.iter().any(|family| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    })
}

fn complain(what: String) -> Complaint {
    Complaint { file: "Cargo.toml".to_owned(), line: 0, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DependencyKind::{Build, Development, Normal};

    fn graph(arrows: &[(&str, DependencyKind, &str)]) -> Graph {
        let arrows = arrows.iter().map(|(from, kind, to)| ((*from).to_owned(), *kind, (*to).to_owned()));
        Graph { crates: ORDER.map(str::to_owned).into(), arrows: arrows.collect() }
    }

    fn whats(complaints: &[Complaint]) -> Vec<&str> {
        complaints.iter().map(|complaint| complaint.what.as_str()).collect()
    }

    #[test]
    fn a_crate_that_is_not_there_is_named() {
        let absent = absent(&graph(&[]));
        assert_eq!(
            whats(&absent),
            ["the workspace has no crate portolan-testing, whose borders are checked"]
        );
    }

    #[test]
    fn arrows_point_inwards_and_only_tests_use_the_crate_for_tests() {
        let fine = [
            (AGENT, Normal, CLIENT),
            (CLIENT, Normal, REPORT),
            (REPORT, Normal, ENGINE),
            (AGENT, Development, TESTING),
        ];
        assert_eq!(directions(&graph(&fine)), []);
        let wrong = [(ENGINE, Development, REPORT), (REPORT, Normal, AGENT), (CLIENT, Normal, TESTING)];
        assert_eq!(directions(&graph(&wrong)).len(), 3);
    }

    #[test]
    fn the_engine_may_have_two_dependencies_and_any_in_its_tests() {
        let arrows =
            [(ENGINE, Normal, "ipnet"), (ENGINE, Development, "proptest"), (ENGINE, Normal, "serde")];
        let found = engine(&graph(&arrows));
        assert_eq!(found.len(), 1);
        assert!(whats(&found)[0].starts_with("portolan-engine depends on serde; "), "{found:?}");
    }

    #[test]
    fn what_is_linked_is_found_with_its_path() {
        let arrows = [
            (REPORT, Normal, "jiff"),
            ("jiff", Normal, "tokio-util"),
            (REPORT, Build, "hyper"),
            (CLIENT, Normal, "kube"),
            ("kube", Normal, "inotify"),
            ("kube", Normal, "ayah"),
        ];
        let graph = graph(&arrows);
        assert!(whats(&report(&graph))[0].starts_with("portolan-report → jiff → tokio-util: "));
        assert_eq!(report(&graph).len(), 1);
        assert!(
            whats(&client(&graph, "there"))[0].starts_with("portolan-client → kube → inotify on there: ")
        );
        assert_eq!(client(&graph, "there").len(), 1);
    }
}
