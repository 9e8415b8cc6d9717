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

    /// Returns true if nothing is amiss.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.hooks, &self.sources, &self.lost, &self.full].into_iter().all(Vec::is_empty)
    }
}

/// Formats the status of all agents, one row per node: first the nodes that did not answer, with the reason, then those where
/// something is amiss, then the others. `missing` are nodes and reasons.
#[must_use]
pub fn of_all(statuses: &[AgentStatus], missing: &[(String, String)]) -> String {
    let mut rows: Vec<(bool, &AgentStatus, Amiss)> = statuses
        .iter()
        .map(|status| (status, Amiss::of(status)))
        .map(|(status, amiss)| (amiss.is_empty(), status, amiss))
        .collect();
    rows.sort_by_key(|(is_fine, status, _)| (*is_fine, status.envelope.node.clone()));
    let silent = missing.iter().map(|(node, reason)| {
        let mut row = vec![node.clone()];
        row.extend(std::iter::repeat_n(NONE.to_owned(), 6));
        row.push(format!("no full answer: {reason}"));
        row
    });
    let rows = rows.iter().map(|(_, status, amiss)| row(status, amiss));
    lay_out(
        &["NODE", "VERSION", "KERNEL", "HOOKS", "SOURCES", "LISTENERS", "LOST", "AMISS"],
        silent.chain(rows),
    )
}

fn row(status: &AgentStatus, amiss: &Amiss) -> Vec<String> {
    let attached = status.hooks.iter().filter(|hook| hook.state == "attached").count();
    let up = status.sources.iter().filter(|source| source.state == "up").count();
    let lost = status.lost.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let full = amiss.full.iter().map(|what| format!("full: {what}"));
    let lost_for = amiss.lost.iter().map(|what| format!("lost: {what}"));
    let all: Vec<String> =
        amiss.hooks.iter().chain(&amiss.sources).cloned().chain(lost_for).chain(full).collect();
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
        let text = of_all(&[status("a"), bad], &[("m".to_owned(), "is Pending".to_owned())]);
        let nodes: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(nodes, ["NODE", "m", "z-bad", "a"]);
        let expected =
            "sock_ops refused: no CAP_BPF; kubernetes down; lost: 7 ring-full; full: listeners 10 of 10";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("no full answer: is Pending"), "{text}");
        assert!(Amiss::of(&status("a")).is_empty());
    }
}
