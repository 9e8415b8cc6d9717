//! What is known of all nodes, and the merged answers of it. They are made when they are asked for, and kept until something changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use portolan_report::answer::NodePod;
use portolan_report::chart::{
    AgentSummary, Chart, ChartRow, MAX_ROWS, MissingNode, RowCounts, TrafficCounts,
};
use portolan_report::chart_fold::{merge_at, set_pods_total};
use portolan_report::escape::terminal;
use portolan_report::wire::SCHEMA;
use portolan_report::workload_table::PodTotals;
use serde::Deserialize;

use super::node::{Node, now};
use crate::cluster::fleet::Answers;
use crate::cluster::names::Names;

/// The nodes.
#[derive(Debug, Default)]
pub(super) struct Store {
    nodes: BTreeMap<String, Node>,
    /// The merged chart; `None` if something changed since it was made.
    merged: Option<Arc<Chart>>,
    /// Names and numbers of all pods; `None` if pods changed since.
    directory: Option<Arc<Directory>>,
    /// Number of the last change of counts.
    version: u64,
    /// Number of the change in which the counts of a row changed last.
    versions: HashMap<String, u64>,
    /// Number of versions beyond which those of rows that are gone are forgotten.
    most_versions: usize,
}

/// The pods of all nodes.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) names: Names,
    totals: PodTotals,
}

impl Store {
    /// Returns a node to change, and forgets the merged answers.
    pub(super) fn change(&mut self, node: &str) -> Option<&mut Node> {
        self.merged = None;
        self.nodes.get_mut(node)
    }

    /// Adds a node, or replaces it.
    pub(super) fn insert(&mut self, name: &str, node: Node) {
        self.merged = None;
        self.nodes.insert(name.to_owned(), node);
    }

    /// Removes the nodes for which `stays` is false.
    pub(super) fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        (self.merged, self.directory) = (None, None);
        self.nodes.retain(|name, _| stays(name));
    }

    /// Notes that pods changed.
    pub(super) fn forget_pods(&mut self) {
        (self.merged, self.directory) = (None, None);
    }

    /// Takes the pods of the nodes that told all of them. Of a node whose answer is incomplete, those that are known stay.
    pub(super) fn take_pods(&mut self, answers: &Answers) {
        for (name, items) in answers.by_node() {
            let shown = terminal(name);
            if answers.missing.iter().any(|missing| missing.node == shown) {
                continue;
            }
            let pods = items.iter().filter_map(|item| NodePod::deserialize(item).ok()).collect();
            if let Some(known) = self.nodes.get_mut(name) {
                known.take_pods(pods);
            }
        }
        self.forget_pods();
    }

    /// Returns a node.
    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Notes that the counts of these rows changed.
    pub(super) fn note_counts(&mut self, fingerprints: Vec<String>) {
        if fingerprints.is_empty() {
            return;
        }
        self.version += 1;
        for fingerprint in fingerprints {
            self.versions.insert(fingerprint, self.version);
        }
        if self.versions.len() > self.most_versions.max(8 * MAX_ROWS) {
            let mut versions = std::mem::take(&mut self.versions);
            versions.retain(|fingerprint, _| self.nodes.values().any(|node| node.row(fingerprint).is_some()));
            // If all of them are those of rows, the next look is worth its time only when there are many more.
            self.most_versions = 2 * versions.len();
            self.versions = versions;
        }
    }

    fn rows(&self) -> impl Iterator<Item = &ChartRow> {
        self.nodes.values().filter_map(Node::chart).flat_map(|chart| &chart.rows)
    }

    /// Returns the pods of all nodes.
    pub(super) fn directory(&mut self) -> Arc<Directory> {
        if let Some(known) = &self.directory {
            return Arc::clone(known);
        }
        let pods = || self.nodes.values().flat_map(Node::pods);
        let made = Arc::new(Directory {
            names: Names::of_pods(pods().cloned()),
            totals: portolan_report::workload_table::pod_totals(
                pods().map(|pod| (&pod.pod, pod.envelope.node.as_str())),
            ),
        });
        self.directory = Some(Arc::clone(&made));
        made
    }

    /// Returns the merged chart of all nodes, with as many declared ports as fit.
    pub(super) fn merged(&mut self) -> Arc<Chart> {
        if let Some(known) = &self.merged {
            return Arc::clone(known);
        }
        let directory = self.directory();
        let charts = self.nodes.values().filter_map(Node::chart).cloned().collect();
        let made = Arc::new(self.finished(charts, &directory, |_| true));
        self.merged = Some(Arc::clone(&made));
        made
    }

    /// Returns true if [`Self::merged`] may leave out rows of nodes, or count declared ports that a filter leaves room for: it is not
    /// to be filtered then.
    pub(super) fn has_more_than_fits(&self) -> bool {
        self.rows().map(|row| row.fingerprint.as_str()).collect::<HashSet<_>>().len() > MAX_ROWS
    }

    /// Merges the rows with one of these fingerprints, or all if there are none, for which `select` is true. It must only look at
    /// what the rows of one fingerprint have in common. Keeps the merged rows for which `keep` is true.
    pub(super) fn merged_where(
        &mut self,
        fingerprints: &BTreeSet<&str>,
        select: impl Fn(&ChartRow) -> bool,
        keep: impl Fn(&ChartRow) -> bool,
    ) -> Chart {
        let directory = self.directory();
        let of_nodes = self.nodes.values().filter_map(|node| node.rows_where(fingerprints, &select));
        let charts = of_nodes.flatten().collect();
        self.finished(charts, &directory, keep)
    }

    /// Merges charts of nodes, names their callers, and says which nodes are missing. Keeps the merged rows for which `keep` is true.
    pub(super) fn finished(
        &self,
        mut charts: Vec<Chart>,
        directory: &Directory,
        keep: impl Fn(&ChartRow) -> bool,
    ) -> Chart {
        for row in charts.iter_mut().flat_map(|chart| &mut chart.rows) {
            row.for_each_part(|row| {
                row.callers.iter_mut().for_each(|caller| directory.names.name_caller(caller));
            });
        }
        // The minutes of all rows end with the minute of this time.
        let mut merged = merge_at(charts, MAX_ROWS, &now(), keep);
        set_pods_total(&mut merged, &directory.totals);
        merged.node = None;
        merged.missing = self.nodes.values().filter_map(Node::missing).collect();
        if self.nodes.is_empty() {
            merged.missing.push(MissingNode {
                node: "(all nodes)".to_owned(),
                reason: "no agent is running any more".to_owned(),
                since: merged.time.clone(),
                pods: None,
            });
        }
        merged
    }

    /// Returns the agents, by node.
    pub(super) fn summaries(&self) -> Vec<AgentSummary> {
        self.nodes.values().map(Node::summary).collect()
    }

    /// Returns the live pods of all nodes.
    pub(super) fn pods(&self) -> impl Iterator<Item = &NodePod> {
        self.nodes.values().flat_map(Node::pods)
    }

    /// Returns the nodes with a row that lists this finding.
    pub(super) fn nodes_of_finding(&self, id: &str) -> Vec<String> {
        let has = |chart: &Chart| chart.rows.iter().any(|row| row.findings.iter().any(|known| known == id));
        let nodes = self.nodes.iter().filter(|(_, node)| node.chart().is_some_and(has));
        nodes.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the counts of the rows that changed after a version, and the version of these counts; `None` if nothing changed.
    /// After version `None`, of all rows with traffic.
    pub(super) fn counts_since(&self, version: Option<u64>) -> (Option<TrafficCounts>, u64) {
        let mut sums: BTreeMap<&str, RowCounts> = BTreeMap::new();
        match version {
            None => {
                let called = |row: &&ChartRow| row.attempts > 0 || row.connections > 0 || row.packets > 0;
                self.rows().filter(called).for_each(|row| add(&mut sums, row));
            }
            Some(version) => {
                let changed = self.versions.iter().filter(|(_, changed)| **changed > version);
                for (fingerprint, _) in changed {
                    let rows = self.nodes.values().filter_map(|node| node.row(fingerprint));
                    rows.for_each(|row| add(&mut sums, row));
                }
            }
        }
        let items: Vec<RowCounts> = sums.into_values().collect();
        let counts = TrafficCounts { schema: SCHEMA.to_owned(), time: now(), items };
        (Some(counts).filter(|counts| version.is_none() || !counts.items.is_empty()), self.version)
    }
}

fn add<'a>(sums: &mut BTreeMap<&'a str, RowCounts>, row: &'a ChartRow) {
    let sum = sums
        .entry(&row.fingerprint)
        .or_insert_with(|| RowCounts { fingerprint: row.fingerprint.clone(), ..RowCounts::default() });
    sum.attempts = sum.attempts.saturating_add(row.attempts);
    sum.connections = sum.connections.saturating_add(row.connections);
    sum.packets = sum.packets.saturating_add(row.packets);
    sum.bytes = sum.bytes.saturating_add(row.bytes);
    if let Some(last_seen) = row.last_seen.as_ref().filter(|time| **time > sum.last_seen) {
        sum.last_seen.clone_from(last_seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fleet::{self, AgentAnswer};

    #[test]
    fn versions_of_rows_that_are_gone_are_forgotten() {
        let mut store = Store::default();
        store.note_counts((0..8 * MAX_ROWS).map(|number| number.to_string()).collect());
        assert_eq!(store.versions.len(), 8 * MAX_ROWS);
        store.note_counts(vec!["one more".to_owned()]);
        assert_eq!((store.versions.len(), store.most_versions), (0, 0));
    }

    fn pod(node: &str, name: &str) -> serde_json::Value {
        serde_json::json!({
            "schema": SCHEMA, "node": node, "time": "", "addresses": [], "labels": {},
            "pod": {"namespace": "shop", "name": name, "uid": name, "hostNetwork": false, "workload": null},
        })
    }

    #[test]
    fn pods_of_an_incomplete_answer_do_not_replace_those_that_are_known() {
        let nodes = ["node-1", "node\u{1b}", "node-3"];
        let mut store = Store::default();
        nodes.iter().for_each(|name| store.insert(name, Node::new(name, None)));
        let answer = |pods: &[&str], reason: Option<&str>| -> AgentAnswer {
            Ok((pods.iter().map(|name| pod("a", name)).collect(), reason.map(str::to_owned)))
        };
        let mut take = |answers: [AgentAnswer; 3]| {
            let answers = nodes.iter().map(|name| (*name).to_owned()).zip(answers).collect();
            store.take_pods(&fleet::merged(answers).expect("an answer"));
            nodes.map(|name| store.node(name).map_or(0, |node| node.pods().len()))
        };
        let whole = || answer(&["a", "b"], None);
        assert_eq!(take([whole(), whole(), whole()]), [2, 2, 2]);
        let cut = answer(&["a"], Some("it broke off"));
        let unready = answer(&[], Some(fleet::NOT_READY));
        assert_eq!(take([cut, unready, answer(&["a"], None)]), [2, 2, 1]);
    }

    #[test]
    fn without_agents_nothing_is_shown_as_whole() {
        let mut store = Store::default();
        assert_eq!(store.merged().missing.len(), 1);
        store.insert("node-1", Node::new("node-1", None));
        let merged = store.merged();
        assert_eq!(
            merged.missing.iter().map(|missing| missing.node.as_str()).collect::<Vec<_>>(),
            ["node-1"]
        );
        assert_eq!(
            merged.missing.first().map(|missing| missing.reason.as_str()),
            Some("its agent has not answered yet")
        );
    }
}
