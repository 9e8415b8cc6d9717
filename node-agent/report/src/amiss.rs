//! What is amiss in the status of an agent, and the table of all agents' status.

use crate::cells::NONE;
use crate::table::lay_out;
use crate::wire::AgentStatus;

/// States of a hook with which nothing is wrong.
const FINE_HOOKS: [&str; 4] = ["attached", "attaching", "off", "waiting"];

/// What is amiss in an agent's status, each in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amiss {
    /// Hooks that are refused or partial: name, state and reason.
    pub hooks: Vec<String>,
    /// Sources that are down: name and reason.
    pub sources: Vec<String>,
    /// Reasons of losses, with their count.
    pub lost: Vec<String>,
    /// Bounded tables that are full.
    pub full: Vec<String>,
}

impl Amiss {
    /// Returns what is amiss in a status.
    #[must_use]
    pub fn of(status: &AgentStatus) -> Self {
        let with = |what: String, reason: Option<&String>| match reason {
            Some(reason) => format!("{what}: {reason}"),
            None => what,
        };
        let hooks = status.hooks.iter().filter(|hook| !FINE_HOOKS.contains(&hook.state.as_str()));
        let sources = status.sources.iter().filter(|source| source.state != "up");
        let lost = status.lost.iter().filter(|(_, count)| **count > 0);
        let full = status.limits.iter().filter(|(_, limit)| limit.max > 0 && limit.used >= limit.max);
        Self {
            hooks: hooks
                .map(|hook| with(format!("{} {}", hook.name, hook.state), hook.reason.as_ref()))
                .collect(),
            sources: sources
                .map(|source| with(format!("{} {}", source.name, source.state), source.reason.as_ref()))
                .collect(),
            lost: lost.map(|(reason, count)| format!("{count} {reason}")).collect(),
            full: full.map(|(name, limit)| format!("{name} {} of {}", limit.used, limit.max)).collect(),
        }
    }

    /// Returns the hooks and sources, and what is full, as an agent's summary has them; not the losses, which it counts itself.
    #[must_use]
    pub fn in_words(self) -> Vec<String> {
        let full = self.full.into_iter().map(|what| format!("full: {what}"));
        self.hooks.into_iter().chain(self.sources).chain(full).collect()
    }

    /// Returns true if nothing is amiss.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.hooks, &self.sources, &self.lost, &self.full].into_iter().all(Vec::is_empty)
    }
}

/// Formats the status of all agents, one row per node: first the nodes that did not answer in full, with the reason, then those
/// where something is amiss, then the others. `missing` are nodes and reasons; such a node may have a status too.
#[must_use]
pub fn of_all(statuses: &[AgentStatus], missing: &[(String, String)]) -> String {
    let reason =
        |node: &str| missing.iter().find(|(missing, _)| missing == node).map(|(_, why)| not_full(why));
    let mut rows: Vec<(bool, bool, Vec<String>)> = statuses
        .iter()
        .map(|status| {
            let (amiss, reason) = (Amiss::of(status), reason(&status.envelope.node));
            (reason.is_none(), amiss.is_empty(), row(status, &amiss, reason))
        })
        .collect();
    let silent = |node: &str| statuses.iter().all(|status| status.envelope.node != node);
    rows.extend(missing.iter().filter(|(node, _)| silent(node)).map(|(node, why)| {
        let mut row = vec![node.clone()];
        row.extend(std::iter::repeat_n(NONE.to_owned(), 6));
        row.push(not_full(why));
        (false, false, row)
    }));
    rows.sort();
    lay_out(
        &["NODE", "VERSION", "KERNEL", "HOOKS", "SOURCES", "LISTENERS", "LOST", "AMISS"],
        rows.into_iter().map(|(_, _, row)| row),
    )
}

fn not_full(reason: &str) -> String {
    format!("no full answer: {reason}")
}

fn row(status: &AgentStatus, amiss: &Amiss, reason: Option<String>) -> Vec<String> {
    let attached = status.hooks.iter().filter(|hook| hook.state == "attached").count();
    let up = status.sources.iter().filter(|source| source.state == "up").count();
    let lost = status.lost.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let full = amiss.full.iter().map(|what| format!("full: {what}"));
    let lost_for = amiss.lost.iter().map(|what| format!("lost: {what}"));
    let found = amiss.hooks.iter().chain(&amiss.sources).cloned();
    let all: Vec<String> = reason.into_iter().chain(found).chain(lost_for).chain(full).collect();
    vec![
        status.envelope.node.clone(),
        status.version.clone(),
        status.kernel.clone(),
        format!("{attached}/{}", status.hooks.len()),
        format!("{up}/{}", status.sources.len()),
        status.listeners.to_string(),
        lost.to_string(),
        if all.is_empty() { NONE.to_owned() } else { all.join("; ") },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::wire::{Envelope, HookStatus, Limit, SCHEMA, SourceStatus};

    fn status(node: &str) -> AgentStatus {
        AgentStatus {
            envelope: Envelope {
                schema: SCHEMA.to_owned(),
                cluster: None,
                node: node.to_owned(),
                time: String::new(),
            },
            version: "0.1.0".to_owned(),
            started_at: None,
            kernel: "6.12.0".to_owned(),
            hooks: vec![HookStatus { name: "sock_ops".into(), state: "attached".into(), reason: None }],
            sources: vec![SourceStatus {
                name: "kubernetes".into(),
                state: "up".into(),
                since: String::new(),
                reason: None,
            }],
            namespaces: 3,
            listeners: 5,
            lost: BTreeMap::new(),
            limits: [("listeners".to_owned(), Limit { used: 5, max: 10 })].into(),
        }
    }

    #[test]
    fn what_is_amiss_comes_first_and_silent_nodes_before_it() {
        let mut bad = status("z-bad");
        bad.hooks[0].state = "refused".to_owned();
        bad.hooks[0].reason = Some("no CAP_BPF".to_owned());
        bad.sources[0].state = "down".to_owned();
        bad.lost.insert("ring-full".to_owned(), 7);
        bad.limits.insert("listeners".to_owned(), Limit { used: 10, max: 10 });
        let text = of_all(&[status("a"), bad.clone()], &[("m".to_owned(), "is Pending".to_owned())]);
        let nodes: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(nodes, ["NODE", "m", "z-bad", "a"]);
        let expected =
            "sock_ops refused: no CAP_BPF; kubernetes down; lost: 7 ring-full; full: listeners 10 of 10";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("no full answer: is Pending"), "{text}");
        assert!(Amiss::of(&status("a")).is_empty());
        assert_eq!(Amiss::of(&bad).in_words().last().map(String::as_str), Some("full: listeners 10 of 10"));
    }

    #[test]
    fn a_node_that_answers_but_is_not_ready_is_one_row() {
        let why = ("b".to_owned(), "the agent is not ready".to_owned());
        let text = of_all(&[status("a"), status("b")], &[why]);
        let nodes: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(nodes, ["NODE", "b", "a"], "{text}");
        let row = text.lines().nth(1).unwrap_or_default();
        assert!(row.contains("6.12.0") && row.contains("no full answer: the agent is not ready"), "{text}");
    }
}
