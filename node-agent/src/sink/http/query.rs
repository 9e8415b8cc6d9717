//! Queries from HTTP to the owner of the engine, over a bounded queue, and their answers. The owner selects the page first
//! and converts only the objects on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::pod::Pod;
use portolan_engine::model::{connection, finding, listener};
use portolan_engine::read::explain::answer::{ExplainError, Explained};
use portolan_engine::read::explain::target::Target;
use portolan_engine::read::policy_basis::{PolicyBasis, PolicyTarget};
use portolan_report::answer;
use portolan_report::explanation::TargetExplanation;
use portolan_report::facts::Facts;
use portolan_report::filter::Filter;
use portolan_report::wire::{self, Report, SCHEMA};
use tokio::sync::oneshot;

use crate::sink::convert::{Converter, pod_ref};

/// Default number of items on a page.
pub const DEFAULT_LIMIT: usize = 500;
/// Maximum number of items on a page.
pub const MAX_LIMIT: usize = 1000;
/// Maximum size of a page in bytes, estimated. A longer page ends early, so that slow readers hold little memory.
const MAX_PAGE_BYTES: usize = 1 << 20;
/// Estimated size of an object without peers in bytes.
const OBJECT_BYTES: usize = 2048;
/// Estimated size of a pod without labels and addresses in bytes.
const POD_BYTES: usize = 512;
/// Maximum number of findings, and of listeners, in the detail of one pod.
const MAX_POD_ITEMS: usize = 250;

/// Filter and page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    pub filter: Filter,
    /// 0 means [`DEFAULT_LIMIT`].
    pub limit: usize,
    /// The page begins after this key.
    pub after: Option<String>,
    /// Generation of the answer that the client already has.
    pub known: Option<u64>,
    /// Only findings that changed their code or state since then, or began then; a time or a duration, as
    /// [`portolan_report::chart_filter::since`] parses it.
    pub since: Option<String>,
    /// Only findings with these fingerprints; `None`: all.
    pub fingerprints: Option<BTreeSet<u128>>,
}

/// Ports whose calls per minute are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedMinutes {
    None,
    /// Those of ports with these fingerprints.
    Of(BTreeSet<u128>),
    All,
}

/// What the chart takes from the agent beside its lists.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartFacts {
    /// Node, cluster and time.
    pub envelope: wire::Envelope,
    /// Start of the agent (RFC 3339, UTC).
    pub started_at: String,
    /// Number of live pods of the node.
    pub pods: u64,
    pub generation: u64,
    /// Fingerprints, and the calls per minute up to the envelope's time, as far as they are wanted.
    pub minutes: Vec<(u128, Vec<u32>)>,
}

/// What a workload's port counts now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounts {
    pub fingerprint: u128,
    pub attempts: u64,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
    pub last_seen: BootTime,
}

/// Counts of all ports with findings and traffic, by fingerprint.
#[derive(Clone, Debug)]
pub struct TrafficSnapshot {
    /// Converter of the time at which they were read.
    pub converter: Converter,
    pub ports: Vec<PortCounts>,
}

/// Answer to a [`ListQuery`].
#[derive(Clone, Debug, PartialEq)]
pub enum ListAnswer {
    /// Nothing changed since the generation that the client has.
    Unchanged(u64),
    Page(answer::List<Report>),
}

/// A query, with the channel of its answer. The client may be gone before the answer, which is not an error.
#[derive(Debug)]
pub enum Query {
    Findings(ListQuery, oneshot::Sender<ListAnswer>),
    Finding(String, oneshot::Sender<Option<Report>>),
    Listeners(ListQuery, oneshot::Sender<ListAnswer>),
    Listener(String, oneshot::Sender<Option<Report>>),
    Connections(ListQuery, oneshot::Sender<ListAnswer>),
    Pods(ListQuery, oneshot::Sender<answer::List<answer::NodePod>>),
    Pod { namespace: String, name: String, reply: oneshot::Sender<Option<answer::PodDetail>> },
    Explain(Target, oneshot::Sender<Result<TargetExplanation, ExplainError>>),
    Policy(PolicyTarget, oneshot::Sender<Option<portolan_report::policy_basis::PolicyBasis>>),
    Status(oneshot::Sender<wire::AgentStatus>),
    Chart(WantedMinutes, oneshot::Sender<ChartFacts>),
    Traffic(oneshot::Sender<TrafficSnapshot>),
}

impl Query {
    /// Returns true if the client is gone: its request timed out, or it disconnected.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Findings(_, reply) | Self::Listeners(_, reply) | Self::Connections(_, reply) => {
                reply.is_closed()
            }
            Self::Finding(_, reply) | Self::Listener(_, reply) => reply.is_closed(),
            Self::Pods(_, reply) => reply.is_closed(),
            Self::Pod { reply, .. } => reply.is_closed(),
            Self::Explain(_, reply) => reply.is_closed(),
            Self::Policy(_, reply) => reply.is_closed(),
            Self::Status(reply) => reply.is_closed(),
            Self::Chart(_, reply) => reply.is_closed(),
            Self::Traffic(reply) => reply.is_closed(),
        }
    }
}

/// Selects the objects of one page.
#[derive(Clone, Copy, Debug)]
pub struct PageSelection<'a> {
    pub filter: &'a Filter,
    /// Only objects with ids after this one.
    pub after: Option<&'a str>,
    /// Maximum number of objects.
    pub limit: usize,
    /// Only findings that changed since then.
    pub since: Option<BootTime>,
    /// Only findings with these fingerprints; `None`: all.
    pub fingerprints: Option<&'a BTreeSet<u128>>,
}

impl<'a> PageSelection<'a> {
    /// Selects objects by a filter alone.
    #[must_use]
    pub const fn of(filter: &'a Filter, after: Option<&'a str>, limit: usize) -> Self {
        Self { filter, after, limit, since: None, fingerprints: None }
    }

    /// Returns true if a finding belongs to the list, whatever its fingerprint.
    #[must_use]
    pub fn selects_finding(&self, finding: &finding::Finding) -> bool {
        let changed_at = finding.changed_at.unwrap_or(finding.first_seen);
        self.since.is_none_or(|since| changed_at >= since) && self.lets_through(&Facts::of_finding(finding))
    }

    /// Returns true if a finding with this fingerprint belongs to the list.
    #[must_use]
    pub fn has_fingerprint(&self, fingerprint: impl FnOnce() -> String) -> bool {
        self.fingerprints.is_none_or(|wanted| {
            u128::from_str_radix(&fingerprint(), 16).is_ok_and(|number| wanted.contains(&number))
        })
    }

    /// Returns true if a finding or listener belongs to the list. Ended ones only do if the filter names their state.
    #[must_use]
    pub fn lets_through(&self, facts: &Facts<'_>) -> bool {
        let has_ended = matches!(facts.state, Some("resolved" | "closed"));
        self.filter.lets_through(facts) && (!has_ended || self.filter.asks_for_ended())
    }
}

/// Read access to the engine's state. Queries run between two events of the engine, so a model reads no more than needed and
/// creates only the selected objects.
pub trait ReadModel {
    /// Returns a number that grows with each change of a listed object.
    fn generation(&self) -> u64;
    /// Returns the converter for objects that are written now.
    fn converter(&self) -> Converter;
    /// Returns a finding, also a recently resolved one.
    fn finding(&self, id: &str) -> Option<Arc<finding::Finding>>;
    /// Returns a listener, also a recently closed one.
    fn listener(&self, id: &str) -> Option<Arc<listener::Listener>>;
    /// Returns the selected findings in the order of their ids.
    fn findings(&self, selection: PageSelection<'_>) -> Vec<Arc<finding::Finding>>;
    /// Returns the selected listeners in the order of their ids.
    fn listeners(&self, selection: PageSelection<'_>) -> Vec<Arc<listener::Listener>>;
    /// Returns all recorded connections in any order.
    fn connections(&self) -> impl Iterator<Item = &Arc<connection::Connection>>;
    /// Returns the live pods of the node in any order.
    fn pods(&self) -> impl Iterator<Item = &Arc<Pod>>;
    /// Explains how traffic reaches a target.
    ///
    /// # Errors
    /// [`ExplainError`] if the target does not exist or is ambiguous.
    fn explain(&self, target: &Target) -> Result<Explained, ExplainError>;

    /// Returns the facts for a NetworkPolicy draft. They contain no pod if the target has none.
    fn policy_basis(&self, target: &PolicyTarget) -> PolicyBasis;
    /// Returns the agent's status.
    fn status(&self) -> wire::AgentStatus;
    /// Returns when the agent started.
    fn started_at(&self) -> BootTime;
    /// Returns the calls per minute of ports with findings, by fingerprint, up to a minute since 1970; those of `wanted`, or of
    /// all. A fingerprint can come several times.
    fn minutes(&self, minute: i64, wanted: Option<&BTreeSet<u128>>) -> Vec<(u128, Vec<u32>)>;
    /// Returns what the ports with findings and traffic count now, in the order of fingerprints.
    fn port_counts(&self) -> Vec<PortCounts>;
}

/// Answers one query from the model, unless its client is gone.
pub fn answer(query: Query, model: &impl ReadModel) {
    if query.is_abandoned() {
        return;
    }
    let convert = model.converter();
    match query {
        Query::Findings(list, reply) => {
            let _ = reply.send(findings_page(model, &convert, &list));
        }
        Query::Finding(id, reply) => {
            let _ = reply.send(model.finding(&id).map(|finding| Report::Finding(convert.finding(&finding))));
        }
        Query::Listeners(list, reply) => {
            let _ = reply.send(list_of(model, &list, |after, limit| {
                let found = model.listeners(PageSelection::of(&list.filter, after, limit));
                let one = |l: Arc<listener::Listener>| (l.id.clone(), Report::Listener(convert.listener(&l)));
                FoundItems { all: found.len(), reports: found.into_iter().map(one) }.page(list.limit())
            }));
        }
        Query::Listener(id, reply) => {
            let found = model.listener(&id);
            let _ = reply.send(found.map(|listener| Report::Listener(convert.listener(&listener))));
        }
        Query::Connections(list, reply) => {
            let _ = reply.send(list_of(model, &list, |after, limit| {
                let found = first_connections(model.connections(), &list.filter, after, limit);
                let one = |(key, c): (ConnectionKey, &Arc<connection::Connection>)| {
                    (key.text(), Report::Connection(convert.connection(c)))
                };
                FoundItems { all: found.len(), reports: found.into_iter().map(one) }.page(list.limit())
            }));
        }
        Query::Pods(list, reply) => {
            let _ = reply.send(pods_page(model, &convert, &list));
        }
        Query::Pod { namespace, name, reply } => {
            let _ = reply.send(pod_detail(model, &convert, namespace, name));
        }
        Query::Explain(target, reply) => {
            let explained = model.explain(&target);
            let _ = reply.send(explained.map(|explained| convert.explanation(&explained)));
        }
        Query::Policy(target, reply) => {
            let basis = model.policy_basis(&target);
            let _ = reply.send((!basis.pods.is_empty()).then(|| convert.policy_basis(&basis)));
        }
        Query::Status(reply) => {
            let _ = reply.send(model.status());
        }
        Query::Chart(wanted, reply) => {
            let _ = reply.send(chart_facts(model, &convert, &wanted));
        }
        Query::Traffic(reply) => {
            let _ = reply.send(TrafficSnapshot { ports: model.port_counts(), converter: convert });
        }
    }
}

impl ListQuery {
    /// Returns the time since which findings must have changed; `None` if there is no such condition. Parameters are checked
    /// before, so that no condition is ignored.
    fn since(&self, convert: &Converter) -> Option<BootTime> {
        let now = convert.wall.rfc3339(convert.now).parse().ok()?;
        let since = portolan_report::chart_filter::since(self.since.as_deref()?, now).ok()?;
        Some(convert.wall.boot_time(since))
    }

    /// Returns the page's limit, with default and maximum applied.
    fn limit(&self) -> usize {
        if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.min(MAX_LIMIT) }
    }
}

/// Returns one page of findings.
fn findings_page(model: &impl ReadModel, convert: &Converter, list: &ListQuery) -> ListAnswer {
    let since = list.since(convert);
    list_of(model, list, |after, limit| {
        let (filter, fingerprints) = (&list.filter, list.fingerprints.as_ref());
        let found = model.findings(PageSelection { filter, after, limit, since, fingerprints });
        let one = |f: Arc<finding::Finding>| (f.id.clone(), Report::Finding(convert.finding(&f)));
        FoundItems { all: found.len(), reports: found.into_iter().map(one) }.page(list.limit())
    })
}

fn chart_facts(model: &impl ReadModel, convert: &Converter, wanted: &WantedMinutes) -> ChartFacts {
    let minute = convert.wall.minute(convert.now);
    let minutes = match wanted {
        WantedMinutes::None => Vec::new(),
        WantedMinutes::Of(fingerprints) => model.minutes(minute, Some(fingerprints)),
        WantedMinutes::All => model.minutes(minute, None),
    };
    ChartFacts {
        envelope: convert.envelope(),
        started_at: convert.wall.rfc3339(model.started_at()),
        pods: model.pods().count() as u64,
        generation: model.generation(),
        minutes,
    }
}

/// Answers a list. `page` returns the items after a key, and the key to continue after.
fn list_of(
    model: &impl ReadModel,
    list: &ListQuery,
    page: impl FnOnce(Option<&str>, usize) -> (Vec<Report>, Option<String>),
) -> ListAnswer {
    let generation = model.generation();
    if list.known == Some(generation) {
        return ListAnswer::Unchanged(generation);
    }
    // One object more than the page shows whether the list continues.
    let limit = list.limit().min(MAX_PAGE_BYTES / OBJECT_BYTES + 1) + 1;
    let (items, r#continue) = page(list.after.as_deref(), limit);
    ListAnswer::Page(answer::List { schema: SCHEMA.to_owned(), items, r#continue, generation })
}

/// The objects that a model selected: one more than the page holds if the list continues.
struct FoundItems<I> {
    all: usize,
    reports: I,
}

impl<I: Iterator<Item = (String, Report)>> FoundItems<I> {
    /// Returns the items of the page, and the key to continue after.
    fn page(self, limit: usize) -> (Vec<Report>, Option<String>) {
        let mut bytes = 0;
        let mut last = None;
        let mut items = Vec::with_capacity(self.all.min(limit));
        for (key, report) in self.reports.take(limit) {
            bytes += estimated_bytes(&report);
            items.push(report);
            last = Some(key);
            if bytes > MAX_PAGE_BYTES {
                break;
            }
        }
        let continues = items.len() < self.all;
        (items, last.filter(|_| continues))
    }
}

/// Order of connections: oldest first. Unique, because a peer's port cannot open twice at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ConnectionKey {
    opened_ns: u64,
    listener: u64,
    remote: (IpAddr, u16),
}

impl ConnectionKey {
    fn of(connection: &connection::Connection) -> Self {
        Self {
            opened_ns: connection.opened_at.0,
            listener: connection.listener_id,
            remote: connection.remote,
        }
    }

    fn text(self) -> String {
        let (address, port) = self.remote;
        format!("{:020}~{:016x}~{address}~{port}", self.opened_ns, self.listener)
    }

    /// Returns `None` for a text that is not a key. The list then starts from the beginning.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('~');
        let opened_ns = parts.next()?.parse().ok()?;
        let listener = u64::from_str_radix(parts.next()?, 16).ok()?;
        let remote = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { opened_ns, listener, remote })
    }
}

/// Returns the first `limit` connections in the order of keys, without sorting all.
fn first_connections<'a>(
    connections: impl Iterator<Item = &'a Arc<connection::Connection>>,
    filter: &Filter,
    after: Option<&str>,
    limit: usize,
) -> BTreeMap<ConnectionKey, &'a Arc<connection::Connection>> {
    let after = after.and_then(ConnectionKey::parse);
    let mut first = BTreeMap::new();
    for connection in connections {
        let key = ConnectionKey::of(connection);
        if after.is_some_and(|after| key <= after) || !filter.lets_through(&Facts::of_connection(connection))
        {
            continue;
        }
        first.insert(key, connection);
        if first.len() > limit {
            first.pop_last();
        }
    }
    first
}

/// Estimates the size of the JSON without writing it, since this runs between two events of the engine.
fn estimated_bytes(report: &Report) -> usize {
    let peers = match report {
        Report::Finding(finding) => finding.traffic.peers.len(),
        Report::Listener(listener) => listener.traffic.peers.len(),
        Report::Connection(_) | Report::Loss(_) | Report::AgentStatus(_) => 0,
    };
    OBJECT_BYTES + 256 * peers
}

/// Returns one page of the node's pods, by `NAMESPACE/NAME`.
fn pods_page(model: &impl ReadModel, convert: &Converter, list: &ListQuery) -> answer::List<answer::NodePod> {
    let limit = list.limit();
    let mut first: BTreeMap<String, &Arc<Pod>> = BTreeMap::new();
    for pod in model.pods() {
        let key = format!("{}/{}", pod.namespace, pod.name);
        if list.after.as_ref().is_some_and(|after| key <= *after) {
            continue;
        }
        first.insert(key, pod);
        // One pod more than the page shows whether the list continues.
        if first.len() > limit + 1 {
            first.pop_last();
        }
    }
    let all = first.len();
    let (mut bytes, mut last) = (0, None);
    let mut items = Vec::with_capacity(all.min(limit));
    for (key, pod) in first.into_iter().take(limit) {
        let pod = convert.node_pod(pod);
        bytes += estimated_pod_bytes(&pod);
        items.push(pod);
        last = Some(key);
        if bytes > MAX_PAGE_BYTES {
            break;
        }
    }
    let continues = items.len() < all;
    answer::List {
        schema: SCHEMA.to_owned(),
        items,
        r#continue: last.filter(|_| continues),
        generation: model.generation(),
    }
}

/// Estimates the size of a pod's JSON.
fn estimated_pod_bytes(pod: &answer::NodePod) -> usize {
    let labels: usize = pod.labels.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
    POD_BYTES + 48 * pod.addresses.len() + labels
}

/// Returns a pod with its findings and listeners. `None` if the pod has neither.
fn pod_detail(
    model: &impl ReadModel,
    convert: &Converter,
    namespace: String,
    name: String,
) -> Option<answer::PodDetail> {
    let filter = Filter { namespace: vec![namespace], pod: vec![name], ..Filter::default() };
    let selection = PageSelection::of(&filter, None, MAX_POD_ITEMS + 1);
    let (listeners, findings) = (model.listeners(selection), model.findings(selection));
    let pod = listeners
        .iter()
        .find_map(|l| l.pod.as_ref())
        .or_else(|| findings.iter().find_map(|f| f.pod.as_ref()))?;
    Some(answer::PodDetail {
        envelope: convert.envelope(),
        pod: pod_ref(pod),
        truncated: listeners.len() > MAX_POD_ITEMS || findings.len() > MAX_POD_ITEMS,
        findings: findings.iter().take(MAX_POD_ITEMS).map(|f| Report::Finding(convert.finding(f))).collect(),
        listeners: listeners
            .iter()
            .take(MAX_POD_ITEMS)
            .map(|l| Report::Listener(convert.listener(l)))
            .collect(),
    })
}
