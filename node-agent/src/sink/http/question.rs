//! What HTTP asks the one owner of the engine, over a bounded queue, and how the owner answers: filter and page first,
//! convert only what is on the page.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use portolan_engine::model::{connection, finding, listener};
use portolan_engine::read::explain::answer::{ExplainError, Explained};
use portolan_engine::read::explain::target::Target;
use portolan_engine::read::policy_basis::{PolicyBasis, PolicyTarget};
use portolan_report::explanation::TargetExplanation;
use portolan_report::facts::Facts;
use portolan_report::filter::Filter;
use portolan_report::wire::{self, Report, SCHEMA};
use tokio::sync::oneshot;

use crate::sink::convert::{Converter, pod_ref};

/// Items of a page where nothing is asked.
pub const DEFAULT_LIMIT: usize = 500;
/// Items of a page at most.
pub const MAX_LIMIT: usize = 1000;
/// Bytes of a page, estimated: a page that would be longer ends early, so that slow readers cannot hold much memory.
const MAX_PAGE_BYTES: usize = 1 << 20;
/// An object's without its peers, estimated.
const LEAST_BYTES: usize = 2048;
/// Findings and listeners of one pod in its detail at most.
const MAX_POD_ITEMS: usize = 250;

/// A list's filter and page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    pub filter: Filter,
    /// 0 means [`DEFAULT_LIMIT`].
    pub limit: usize,
    /// Only what is ordered after this key.
    pub after: Option<String>,
    /// The client has the answer of this generation already.
    pub known: Option<u64>,
}

/// Answer to a [`ListQuery`].
#[derive(Clone, Debug, PartialEq)]
pub enum ListAnswer {
    /// Nothing changed since the generation that the client knows.
    Unchanged(u64),
    Page(wire::List<Report>),
}

/// One question. The asker may be gone when the answer comes: that is no error.
#[derive(Debug)]
pub enum Query {
    Findings(ListQuery, oneshot::Sender<ListAnswer>),
    Finding(String, oneshot::Sender<Option<Report>>),
    Listeners(ListQuery, oneshot::Sender<ListAnswer>),
    Listener(String, oneshot::Sender<Option<Report>>),
    Connections(ListQuery, oneshot::Sender<ListAnswer>),
    Pod { namespace: String, name: String, reply: oneshot::Sender<Option<wire::PodDetail>> },
    Explain(Target, oneshot::Sender<Result<TargetExplanation, ExplainError>>),
    Policy(PolicyTarget, oneshot::Sender<Option<wire::PolicyBasis>>),
    Status(oneshot::Sender<wire::AgentStatus>),
}

impl Query {
    /// The asker is gone: it waited too long, or hung up.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Findings(_, reply) | Self::Listeners(_, reply) | Self::Connections(_, reply) => {
                reply.is_closed()
            }
            Self::Finding(_, reply) | Self::Listener(_, reply) => reply.is_closed(),
            Self::Pod { reply, .. } => reply.is_closed(),
            Self::Explain(_, reply) => reply.is_closed(),
            Self::Policy(_, reply) => reply.is_closed(),
            Self::Status(reply) => reply.is_closed(),
        }
    }
}

/// What one page needs.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub filter: &'a Filter,
    /// Only ids after this one.
    pub after: Option<&'a str>,
    /// So many at most.
    pub most: usize,
}

impl Wanted<'_> {
    /// Whether a finding or listener is of the page. What ended is only for those who ask for its state.
    #[must_use]
    pub fn lets_through(&self, facts: &Facts<'_>) -> bool {
        let has_ended = matches!(facts.state, Some("resolved" | "closed"));
        self.filter.lets_through(facts) && (!has_ended || self.filter.asks_for_ended())
    }
}

/// What the owner of the engine lets be read. Questions run between two events of the engine: a model looks at no more
/// than it must, and makes no object that is not wanted.
pub trait ReadModel {
    /// Grows whenever anything listed changes.
    fn generation(&self) -> u64;
    /// For objects written now.
    fn converter(&self) -> Converter;
    /// Also one that ended lately.
    fn finding(&self, id: &str) -> Option<Arc<finding::Finding>>;
    /// Also one that ended lately.
    fn listener(&self, id: &str) -> Option<Arc<listener::Listener>>;
    /// In the order of ids.
    fn findings(&self, wanted: Wanted<'_>) -> Vec<Arc<finding::Finding>>;
    /// In the order of ids.
    fn listeners(&self, wanted: Wanted<'_>) -> Vec<Arc<listener::Listener>>;
    /// In any order.
    fn connections(&self) -> impl Iterator<Item = &Arc<connection::Connection>>;
    /// The way in to a target.
    ///
    /// # Errors
    /// [`ExplainError`].
    fn explain(&self, target: &Target) -> Result<Explained, ExplainError>;

    /// What a policy for it can be drafted from; without pods where there are none.
    fn policy_basis(&self, target: &PolicyTarget) -> PolicyBasis;
    fn status(&self) -> wire::AgentStatus;
}

/// Answers one question from the model, unless nobody waits for it any more.
pub fn answer(query: Query, model: &impl ReadModel) {
    if query.is_abandoned() {
        return;
    }
    let convert = model.converter();
    match query {
        Query::Findings(list, reply) => {
            let _ = reply.send(list_of(model, &list, |after, most| {
                let found = model.findings(Wanted { filter: &list.filter, after, most });
                let one = |f: Arc<finding::Finding>| (f.id.clone(), Report::Finding(convert.finding(&f)));
                Found { all: found.len(), reports: found.into_iter().map(one) }.page(list.limit())
            }));
        }
        Query::Finding(id, reply) => {
            let _ = reply.send(model.finding(&id).map(|finding| Report::Finding(convert.finding(&finding))));
        }
        Query::Listeners(list, reply) => {
            let _ = reply.send(list_of(model, &list, |after, most| {
                let found = model.listeners(Wanted { filter: &list.filter, after, most });
                let one = |l: Arc<listener::Listener>| (l.id.clone(), Report::Listener(convert.listener(&l)));
                Found { all: found.len(), reports: found.into_iter().map(one) }.page(list.limit())
            }));
        }
        Query::Listener(id, reply) => {
            let found = model.listener(&id);
            let _ = reply.send(found.map(|listener| Report::Listener(convert.listener(&listener))));
        }
        Query::Connections(list, reply) => {
            let _ = reply.send(list_of(model, &list, |after, most| {
                let found = first_connections(model.connections(), &list.filter, after, most);
                let one = |(key, c): (ConnectionKey, &Arc<connection::Connection>)| {
                    (key.text(), Report::Connection(convert.connection(c)))
                };
                Found { all: found.len(), reports: found.into_iter().map(one) }.page(list.limit())
            }));
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
    }
}

impl ListQuery {
    fn limit(&self) -> usize {
        if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.min(MAX_LIMIT) }
    }
}

fn list_of(
    model: &impl ReadModel,
    list: &ListQuery,
    page: impl FnOnce(Option<&str>, usize) -> (Vec<Report>, Option<String>),
) -> ListAnswer {
    let generation = model.generation();
    if list.known == Some(generation) {
        return ListAnswer::Unchanged(generation);
    }
    // One more tells whether the list goes on.
    let most = list.limit().min(MAX_PAGE_BYTES / LEAST_BYTES + 1) + 1;
    let (items, r#continue) = page(list.after.as_deref(), most);
    ListAnswer::Page(wire::List { schema: SCHEMA.to_owned(), items, r#continue, generation })
}

/// What a model found: with one more than the page holds if there are more.
struct Found<I> {
    all: usize,
    reports: I,
}

impl<I: Iterator<Item = (String, Report)>> Found<I> {
    /// As many as a page may hold, and where to go on.
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
        let goes_on = items.len() < self.all;
        (items, last.filter(|_| goes_on))
    }
}

/// Oldest first within a listener; unique, since a peer's port cannot open twice at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ConnectionKey {
    listener: u64,
    opened_ns: u64,
    remote: (IpAddr, u16),
}

impl ConnectionKey {
    fn of(connection: &connection::Connection) -> Self {
        Self {
            listener: connection.listener_id,
            opened_ns: connection.opened_at.0,
            remote: connection.remote,
        }
    }

    fn text(self) -> String {
        let (address, port) = self.remote;
        format!("{:016x}~{:020}~{address}~{port}", self.listener, self.opened_ns)
    }

    /// `None` for what no page ended with: such a list begins anew.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('~');
        let listener = u64::from_str_radix(parts.next()?, 16).ok()?;
        let opened_ns = parts.next()?.parse().ok()?;
        let remote = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { listener, opened_ns, remote })
    }
}

/// The first `most` in the order of keys, without sorting all.
fn first_connections<'a>(
    connections: impl Iterator<Item = &'a Arc<connection::Connection>>,
    filter: &Filter,
    after: Option<&str>,
    most: usize,
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
        if first.len() > most {
            first.pop_last();
        }
    }
    first
}

/// About what JSON needs for it; without writing it, since this runs between two events of the engine.
fn estimated_bytes(report: &Report) -> usize {
    let peers = match report {
        Report::Finding(finding) => finding.traffic.peers.len(),
        Report::Listener(listener) => listener.traffic.peers.len(),
        Report::Connection(_) | Report::Loss(_) | Report::AgentStatus(_) => 0,
    };
    LEAST_BYTES + 256 * peers
}

fn pod_detail(
    model: &impl ReadModel,
    convert: &Converter,
    namespace: String,
    name: String,
) -> Option<wire::PodDetail> {
    let filter = Filter { namespace: vec![namespace], pod: vec![name], ..Filter::default() };
    let wanted = Wanted { filter: &filter, after: None, most: MAX_POD_ITEMS + 1 };
    let (listeners, findings) = (model.listeners(wanted), model.findings(wanted));
    let pod = listeners
        .iter()
        .find_map(|l| l.pod.as_ref())
        .or_else(|| findings.iter().find_map(|f| f.pod.as_ref()))?;
    Some(wire::PodDetail {
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
