//! What HTTP asks the one owner of the engine, over a bounded queue, and how the owner answers: filter and page first,
//! convert only what is on the page.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::change;
use crate::sink::convert::{Converter, pod_ref};
use crate::sink::facts::Facts;
use crate::sink::filter::Filter;
use crate::sink::report::{self, Report, SCHEMA};

/// Items of a page where nothing is asked.
pub const DEFAULT_LIMIT: usize = 500;
/// Items of a page at most.
pub const MAX_LIMIT: usize = 1000;
/// Bytes of a page, estimated: a page that would be longer ends early, so that slow readers cannot hold much memory.
const MAX_PAGE_BYTES: usize = 1 << 20;
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
    Page(report::List<Report>),
}

/// One question. The asker may be gone when the answer comes: that is no error.
#[derive(Debug)]
pub enum Query {
    Findings(ListQuery, oneshot::Sender<ListAnswer>),
    Finding(String, oneshot::Sender<Option<Report>>),
    Listeners(ListQuery, oneshot::Sender<ListAnswer>),
    Listener(String, oneshot::Sender<Option<Report>>),
    Connections(ListQuery, oneshot::Sender<ListAnswer>),
    Pod { namespace: String, name: String, reply: oneshot::Sender<Option<report::PodDetail>> },
    Status(oneshot::Sender<report::AgentStatus>),
}

/// What the owner of the engine lets be read.
pub trait ReadModel {
    /// Grows whenever anything listed changes.
    fn generation(&self) -> u64;
    /// For objects written now.
    fn converter(&self) -> Converter;
    /// Open, suppressed, and lately resolved ones, in any order.
    fn findings(&self) -> impl Iterator<Item = Arc<change::Finding>>;
    /// Open and lately closed ones, in any order.
    fn listeners(&self) -> impl Iterator<Item = Arc<change::Listener>>;
    /// In any order.
    fn connections(&self) -> impl Iterator<Item = Arc<change::Connection>>;
    fn status(&self) -> report::AgentStatus;
}

/// Answers one question from the model.
pub fn answer(query: Query, model: &impl ReadModel) {
    let convert = model.converter();
    let generation = model.generation();
    match query {
        Query::Findings(list, reply) => {
            let _ = reply.send(page(
                model.findings(),
                &list,
                generation,
                |f| f.id.clone(),
                |f| Facts::of_finding(f),
                |f| Report::Finding(convert.finding(f)),
            ));
        }
        Query::Finding(id, reply) => {
            let found = model.findings().find(|finding| finding.id == id);
            let _ = reply.send(found.map(|finding| Report::Finding(convert.finding(&finding))));
        }
        Query::Listeners(list, reply) => {
            let _ = reply.send(page(
                model.listeners(),
                &list,
                generation,
                |l| l.id.clone(),
                |l| Facts::of_listener(l),
                |l| Report::Listener(convert.listener(l)),
            ));
        }
        Query::Listener(id, reply) => {
            let found = model.listeners().find(|listener| listener.id == id);
            let _ = reply.send(found.map(|listener| Report::Listener(convert.listener(&listener))));
        }
        Query::Connections(list, reply) => {
            let _ = reply.send(page(
                model.connections(),
                &list,
                generation,
                connection_key,
                |c| Facts::of_connection(c),
                |c| Report::Connection(convert.connection(c)),
            ));
        }
        Query::Pod { namespace, name, reply } => {
            let _ = reply.send(pod_detail(model, &convert, &namespace, &name));
        }
        Query::Status(reply) => {
            let _ = reply.send(model.status());
        }
    }
}

/// Oldest first within a listener; unique, since a peer's port cannot open twice at one instant.
fn connection_key(connection: &change::Connection) -> String {
    let (address, port) = connection.remote;
    format!("{:016x}~{:020}~{address}~{port}", connection.listener_id, connection.opened_at.0)
}

fn page<E>(
    items: impl Iterator<Item = Arc<E>>,
    list: &ListQuery,
    generation: u64,
    key: impl Fn(&E) -> String,
    facts: impl for<'f> Fn(&'f E) -> Facts<'f>,
    convert: impl Fn(&E) -> Report,
) -> ListAnswer {
    if list.known == Some(generation) {
        return ListAnswer::Unchanged(generation);
    }
    let limit = if list.limit == 0 { DEFAULT_LIMIT } else { list.limit.min(MAX_LIMIT) };
    let mut matching: Vec<(String, Arc<E>)> = items
        .filter(|item| list.filter.lets_through(&facts(item)))
        .map(|item| (key(&item), item))
        .filter(|(key, _)| list.after.as_ref().is_none_or(|after| key > after))
        .collect();
    matching.sort_by(|(a, _), (b, _)| a.cmp(b));
    let all = matching.len();
    let mut bytes = 0;
    let mut last = None;
    let mut items = Vec::new();
    for (key, item) in matching.into_iter().take(limit) {
        let report = convert(&item);
        bytes += estimated_bytes(&report);
        items.push(report);
        last = Some(key);
        if bytes > MAX_PAGE_BYTES {
            break;
        }
    }
    let r#continue = last.filter(|_| items.len() < all);
    ListAnswer::Page(report::List { schema: SCHEMA.to_owned(), items, r#continue, generation })
}

/// About what JSON needs for it; without writing it, since this runs between two events of the engine.
fn estimated_bytes(report: &Report) -> usize {
    let peers = match report {
        Report::Finding(finding) => finding.traffic.peers.len(),
        Report::Listener(listener) => listener.traffic.peers.len(),
        Report::Connection(_) | Report::Loss(_) | Report::AgentStatus(_) => 0,
    };
    2048 + 256 * peers
}

fn pod_detail(
    model: &impl ReadModel,
    convert: &Converter,
    namespace: &str,
    name: &str,
) -> Option<report::PodDetail> {
    let is_it =
        |pod: Option<&change::PodRef>| pod.is_some_and(|pod| pod.namespace == namespace && pod.name == name);
    let listeners: Vec<_> =
        model.listeners().filter(|l| is_it(l.pod.as_ref())).take(MAX_POD_ITEMS + 1).collect();
    let findings: Vec<_> =
        model.findings().filter(|f| is_it(f.pod.as_ref())).take(MAX_POD_ITEMS + 1).collect();
    let pod = listeners
        .iter()
        .find_map(|l| l.pod.as_ref())
        .or_else(|| findings.iter().find_map(|f| f.pod.as_ref()))?;
    Some(report::PodDetail {
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
