//! One row in the making: what the findings or listeners of a fingerprint have in common.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::policy::Policy;

use super::callers::{Callers, PodDirectory, least, of_peer};
use super::{first_of, trimmed};
use crate::chart::{ChartRow, MAX_LISTED, MINUTES};
use crate::name_list::first_names;
use crate::wire::{Declaration, Finding, Listener, Pod, Traffic};
use crate::workload_table::total_key;

/// Names of a reason. The others are counted.
const MAX_NAMES: usize = 2;
/// Characters of such a name.
const MAX_NAME: usize = 80;

/// Severity of a code, and among equal ones the order of the codes; the greatest is the worst.
type Rank = (Option<Severity>, Reverse<Option<usize>>);

fn rank(severity: Option<&str>, code: Option<&str>) -> Rank {
    let code = FindingCode::ALL.iter().position(|known| Some(known.as_str()) == code);
    (severity.and_then(Severity::parse), Reverse(code))
}

/// Returns the place of a row's state in the order of rows: open, suppressed, resolved, and last a port without a finding.
pub(super) fn class(row: &ChartRow) -> u8 {
    match (row.state.as_str(), row.code.is_some()) {
        (_, false) => 3,
        ("open", true) => 0,
        ("suppressed", true) => 1,
        _ => 2,
    }
}

/// Returns the severity of a row.
pub(super) fn severity(row: &ChartRow) -> Option<Severity> {
    row.severity.as_deref().and_then(Severity::parse)
}

/// A row whose lists are not cut yet.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    /// Everything but the lists, which are empty.
    row: ChartRow,
    /// Key of the workload's total.
    owner: Option<String>,
    /// `NAMESPACE/NAME`. Those of other nodes are only counted, in `row.pods`.
    pods: BTreeSet<String>,
    nodes: BTreeSet<String>,
    /// Ids with class and rank of the finding, or of the row that listed it, and its place there. The worst is the first: of the
    /// others of a row that was merged, only the order is known.
    ids: BTreeSet<(u8, Reverse<Rank>, usize, String)>,
    callers: Callers,
}

impl Gathered {
    pub(super) fn of_finding(finding: &Finding) -> Self {
        let listener = finding.listener.as_deref();
        let fingerprint = if finding.fingerprint.is_empty() { &finding.id } else { &finding.fingerprint };
        let row = ChartRow {
            fingerprint: fingerprint.clone(),
            container: finding.container.as_ref().map(|container| container.name.clone()),
            image: finding.container.as_ref().map(|container| container.image.clone()),
            port: finding.port,
            protocol: finding.protocol.clone(),
            process: listener.and_then(process),
            code: Some(finding.code.clone()),
            severity: Some(finding.severity.clone()),
            state: finding.state.clone(),
            reason: reason(finding),
            declaration: finding.declaration.status.clone(),
            exposure: finding.exposure.clone(),
            policy: finding.policy.verdict.clone(),
            first_seen: finding.first_seen.clone(),
            changed_at: finding.changed_at.clone(),
            previous_code: finding.previous_code.clone(),
            ..ChartRow::default()
        };
        let rank = Reverse(rank(row.severity.as_deref(), row.code.as_deref()));
        let id = (class(&row), rank, 0, finding.id.clone());
        let mut gathered = Self::of(row, finding.pod.as_ref(), &finding.envelope.node, &finding.traffic);
        // A storm counts the calls of its ports and lists no callers, which must not look as if nobody called.
        let is_storm = finding.code == FindingCode::PortStorm.as_str();
        let is_called = finding.traffic.connections > 0 || finding.traffic.packets > 0;
        gathered.row.truncated |= is_storm && is_called;
        gathered.ids.insert(id);
        gathered
    }

    /// Gathers a listener. One that was open before the agent started to look was first seen at `before`.
    pub(super) fn of_listener(listener: &Listener, before: &str) -> Self {
        let fingerprint = if listener.fingerprint.is_empty() { &listener.id } else { &listener.fingerprint };
        let opened_at = listener.opened_at.as_ref().or(listener.traffic.since.as_ref());
        let row = ChartRow {
            fingerprint: fingerprint.clone(),
            container: listener.container.as_ref().map(|container| container.name.clone()),
            image: listener.container.as_ref().map(|container| container.image.clone()),
            port: Some(listener.port),
            protocol: Some(listener.protocol.clone()),
            process: process(listener),
            state: "open".to_owned(),
            reason: explained(&listener.declaration),
            declaration: listener.declaration.status.clone(),
            exposure: exposure(listener).to_owned(),
            policy: "unknown".to_owned(),
            first_seen: opened_at.map_or(before, String::as_str).to_owned(),
            ..ChartRow::default()
        };
        Self::of(row, listener.pod.as_ref(), &listener.envelope.node, &listener.traffic)
    }

    fn of(mut row: ChartRow, pod: Option<&Pod>, node: &str, traffic: &Traffic) -> Self {
        row.namespace = pod.map(|pod| pod.namespace.clone());
        row.workload = pod.and_then(|pod| pod.workload.clone());
        row.pod = pod.map(|pod| pod.name.clone());
        row.attempts = traffic.attempts;
        row.connections = traffic.connections;
        row.packets = traffic.packets;
        row.bytes = traffic.bytes;
        row.last_seen.clone_from(&traffic.last_seen);
        row.truncated = traffic.truncated;
        let mut callers = Callers::default();
        for peer in &traffic.peers {
            callers.add(of_peer(peer));
        }
        Self {
            row,
            owner: pod.map(|pod| total_key(pod, node)),
            pods: pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)).into_iter().collect(),
            nodes: Some(node.to_owned()).filter(|node| !node.is_empty()).into_iter().collect(),
            ids: BTreeSet::new(),
            callers,
        }
    }

    /// Takes a finished row of a chart apart, without the port that is served beside it. `shift` is the number of minutes by which its
    /// chart is older than the new one.
    pub(super) fn of_row(mut row: ChartRow, shift: usize) -> Self {
        let rank = Reverse(rank(row.severity.as_deref(), row.code.as_deref()));
        let class = class(&row);
        let ids = std::mem::take(&mut row.findings).into_iter().enumerate();
        let ids = ids.map(|(place, id)| (class, rank, place, id)).collect();
        let nodes = std::mem::take(&mut row.nodes).into_iter().collect();
        let mut callers = Callers::default();
        for caller in std::mem::take(&mut row.callers) {
            callers.add(caller);
        }
        let minutes = std::mem::take(&mut row.minutes);
        add_minutes(&mut row.minutes, &minutes, shift);
        row.served = None;
        Self { row, owner: None, pods: BTreeSet::new(), nodes, ids, callers }
    }

    pub(super) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub(super) const fn row(&self) -> &ChartRow {
        &self.row
    }

    pub(super) fn name_callers(&mut self, directory: &PodDirectory) {
        self.callers.name(directory);
    }

    /// Adds what another finding, listener or row of the same fingerprint says. The order does not matter.
    pub(super) fn join(&mut self, other: Self) {
        let mut with = other.row;
        if representative(&with) < representative(&self.row) {
            // The worse one describes the row; the rest is common to both.
            std::mem::swap(&mut self.row, &mut with);
        }
        let row = &mut self.row;
        row.exposure = farther(&row.exposure, &with.exposure, &["loopback", "pod", "host"]);
        row.policy = farther(&row.policy, &with.policy, &["blocked", "unknown", "open", "not-isolated"]);
        row.declaration =
            farther(&row.declaration, &with.declaration, &["declared", "explained", "unknown", "undeclared"]);
        row.pod = least(row.pod.take(), with.pod);
        row.pods = row.pods.saturating_add(with.pods);
        row.pods_total = match (row.pods_total, with.pods_total) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            // A sum with an unknown part is unknown.
            _ => None,
        };
        row.more_nodes = row.more_nodes.saturating_add(with.more_nodes);
        row.more_findings = row.more_findings.saturating_add(with.more_findings);
        row.more_callers = row.more_callers.saturating_add(with.more_callers);
        row.attempts = row.attempts.saturating_add(with.attempts);
        row.connections = row.connections.saturating_add(with.connections);
        row.packets = row.packets.saturating_add(with.packets);
        row.bytes = row.bytes.saturating_add(with.bytes);
        row.truncated |= with.truncated;
        if with.first_seen < row.first_seen {
            row.first_seen = with.first_seen;
        }
        row.last_seen = row.last_seen.take().max(with.last_seen);
        // The later change; of two at the same time the same one in either order.
        if (&with.changed_at, &with.previous_code) > (&row.changed_at, &row.previous_code) {
            row.changed_at = with.changed_at;
            row.previous_code = with.previous_code;
        }
        add_minutes(&mut row.minutes, &with.minutes, 0);
        self.owner = self.owner.take().or(other.owner);
        self.pods.extend(other.pods);
        self.nodes.extend(other.nodes);
        self.ids.extend(other.ids);
        self.callers.extend(other.callers);
    }

    pub(super) fn into_row(self) -> ChartRow {
        let mut row = self.row;
        row.pods = row.pods.saturating_add(self.pods.len() as u64);
        let (nodes, more) = first_of(self.nodes, MAX_LISTED);
        row.nodes = nodes;
        row.more_nodes = row.more_nodes.saturating_add(more);
        let more = self.ids.len().saturating_sub(MAX_LISTED) as u64;
        row.more_findings = row.more_findings.saturating_add(more);
        row.findings = self.ids.into_iter().take(MAX_LISTED).map(|(.., id)| id).collect();
        let (callers, more) = self.callers.listed();
        row.callers = callers;
        row.more_callers = row.more_callers.saturating_add(more);
        row.minutes = trimmed(&row.minutes);
        row
    }
}

/// Adds to a part that may be empty.
pub(super) fn add(part: &mut Option<Gathered>, gathered: Gathered) {
    match part {
        Some(known) => known.join(gathered),
        None => *part = Some(gathered),
    }
}

/// Adds counts per minute. Both end with the same minute, or those of `from` end `shift` minutes earlier.
pub(super) fn add_minutes(to: &mut Vec<u32>, from: &[u32], shift: usize) {
    if from.is_empty() || shift >= MINUTES {
        return;
    }
    let length = (from.len() + shift).max(to.len()).min(MINUTES);
    let mut sum = vec![0_u32; length.saturating_sub(to.len())];
    sum.append(to);
    for (to, from) in sum.iter_mut().rev().skip(shift).zip(from.iter().rev()) {
        *to = to.saturating_add(*from);
    }
    *to = sum;
}

/// What decides which of two rows describes both; the least does.
fn representative(row: &ChartRow) -> impl Ord {
    let absent_last = |text: &Option<String>| (text.is_none(), text.clone());
    (
        class(row),
        Reverse(rank(row.severity.as_deref(), row.code.as_deref())),
        absent_last(&row.process),
        absent_last(&row.image),
        absent_last(&row.container),
        absent_last(&row.reason),
    )
}

/// Returns the value that comes later in `order`.
fn farther(one: &str, other: &str, order: &[&str]) -> String {
    let place = |value: &str| order.iter().position(|known| *known == value);
    if place(other) > place(one) { other.to_owned() } else { one.to_owned() }
}

fn process(listener: &Listener) -> Option<String> {
    let process = listener.process.as_ref().map(|process| process.name.clone());
    process.or_else(|| Some(listener.served_by.clone()).filter(|by| by == "kernel"))
}

/// Returns from where a listener can be reached, as far as its addresses tell.
fn exposure(listener: &Listener) -> &'static str {
    let is_loopback = |address: &String| {
        address.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    };
    match &listener.pod {
        _ if !listener.addresses.is_empty() && listener.addresses.iter().all(is_loopback) => "loopback",
        Some(pod) if pod.host_network => "host",
        _ => "pod",
    }
}

fn reason(finding: &Finding) -> Option<String> {
    if let Some(by) = &finding.suppressed_by {
        return Some(if by.reason.is_empty() {
            format!("exception {}", by.rule)
        } else {
            format!("exception {}: {}", by.rule, by.reason)
        });
    }
    match finding.policy.verdict.as_str() {
        "blocked" if !finding.policy.policies.is_empty() => {
            Some(format!("blocked by {}", some_names(finding.policy.policies.iter().cloned())))
        }
        _ => explained(&finding.declaration),
    }
}

fn explained(declaration: &Declaration) -> Option<String> {
    let by = declaration.explained_by.iter().map(|by| format!("{} {}", by.source, by.reference));
    (by.len() > 0).then(|| format!("explained by {}", some_names(by)))
}

/// Joins names to `a, b and 13 more`, short enough for a row. A list of the greatest length may itself leave out some.
fn some_names(names: impl ExactSizeIterator<Item = String>) -> String {
    let is_open = names.len() >= Policy::MAX_NAMED;
    let names = names.map(shortened);
    if is_open {
        format!("{} and more", first_names(names.take(MAX_NAMES), MAX_NAMES))
    } else {
        first_names(names, MAX_NAMES)
    }
}

fn shortened(name: String) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name,
    }
}
