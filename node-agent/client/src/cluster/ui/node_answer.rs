//! Reads everything that the page needs from one agent. Every answer is bounded, and a part that is missing is said.

use portolan_report::answer::NodePod;
use portolan_report::chart::{Chart, MAX_ROWS};
use portolan_report::chart_fold::{ChartFold, ChartHeader};
use portolan_report::wire::{AgentStatus, Finding, Listener};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::fleet::NOT_READY;
use crate::query::error::QueryError;
use crate::query::outcome::is_unready;
use crate::query::pages::PODS;
use crate::query::request;
use crate::query::server::Server;
use crate::query::show::Subject;
use crate::query::status;
use crate::query::url::with_query;

/// Maximum number of bytes of an answer.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// Path of the chart.
pub(super) const CHART: &str = "/v1/chart";
/// States of the rows that are read: the page asks for any of them.
pub(super) const STATES: &str = "open,suppressed,resolved";
/// Declared ports of a node that are rows. Those of a node with more are counted by workload.
pub(super) const DECLARED: usize = 1000;
/// Items of a page of a list.
const PAGE: usize = 500;
/// Maximum number of objects that are read of one list.
const MAX_OBJECTS: usize = 50_000;

/// Everything about one node.
#[derive(Clone, Debug)]
pub(super) struct NodeAnswer {
    pub(super) status: AgentStatus,
    pub(super) chart: Chart,
    /// The live pods of the node; `None` if the agent does not tell them.
    pub(super) pods: Option<Vec<NodePod>>,
    /// What an older agent cannot tell, in words.
    pub(super) lacks: Vec<String>,
    /// Why the answer is incomplete; `None` if it is complete.
    pub(super) incomplete: Option<String>,
}

/// Reads everything about the node of an agent.
///
/// # Errors
/// If the agent cannot be reached, refuses, breaks off, or answers with something else.
pub(super) async fn read(server: &Server) -> Result<NodeAnswer, QueryError> {
    let status: AgentStatus = request::get_within(server, status::PATH, MAX_ANSWER).await?;
    let mut lacks = Vec::new();
    let mut incomplete = None;
    let pods = match list::<NodePod>(server, PODS, &[]).await {
        Ok(list) => {
            incomplete = list.cut("pods");
            Some(list.items)
        }
        Err(error) if is_unknown_route(&error) => {
            lacks.push("pods: callers are not named, and pods are not counted".to_owned());
            None
        }
        Err(error) => return Err(error),
    };
    let pairs = [("declared", DECLARED.to_string()), ("state", STATES.to_owned())];
    let chart = match request::get_within(server, &with_query(CHART, &pairs), MAX_ANSWER).await {
        Ok(chart) => checked(server, chart)?,
        Err(error) if is_unknown_route(&error) => {
            lacks
                .push("counts: they are read again when a finding changes, and every two minutes".to_owned());
            lacks.push(
                "changes: when a finding changed is unknown, and so are connections per minute".to_owned(),
            );
            let (chart, cut) = of_lists(server, &status, pods.as_deref()).await?;
            incomplete = incomplete.or(cut);
            chart
        }
        Err(error) => return Err(error),
    };
    if is_unready(server).await {
        incomplete = Some(NOT_READY.to_owned());
    }
    Ok(NodeAnswer { status, chart, pods, lacks, incomplete })
}

/// Returns true if an agent does not know what it is asked, because it is older.
fn is_unknown_route(error: &QueryError) -> bool {
    matches!(error, QueryError::Refused { status: 404, .. })
}

/// Refuses a chart with more rows than a chart can have.
fn checked(server: &Server, chart: Chart) -> Result<Chart, QueryError> {
    if chart.rows.len() <= MAX_ROWS {
        return Ok(chart);
    }
    Err(QueryError::NotUnderstood {
        server: server.to_string(),
        path: CHART.to_owned(),
        reason: format!("it has {} rows; expected {MAX_ROWS} at most", chart.rows.len()),
    })
}

/// Makes the chart of an older agent from its lists. Also says why it is incomplete.
async fn of_lists(
    server: &Server,
    status: &AgentStatus,
    pods: Option<&[NodePod]>,
) -> Result<(Chart, Option<String>), QueryError> {
    let envelope = &status.envelope;
    let mut fold = ChartFold::with_header(ChartHeader {
        cluster: envelope.cluster.clone(),
        node: envelope.node.clone(),
        time: envelope.time.clone(),
        ..ChartHeader::default()
    });
    let states = [("state", STATES.to_owned())];
    let findings = list::<Finding>(server, Subject::Findings.path(), &states).await?;
    findings.items.iter().for_each(|finding| fold.add_finding(finding));
    let listeners = list::<Listener>(server, Subject::Listeners.path(), &[]).await?;
    listeners.items.iter().for_each(|listener| fold.add_listener(listener));
    for pod in pods.unwrap_or_default() {
        fold.add_pod(pod);
    }
    fold.set_pods_looked_at(pods.map_or(0, |pods| pods.len() as u64));
    let cut = findings.cut("findings").or_else(|| listeners.cut("listeners"));
    Ok((fold.finish(DECLARED, |_| true), cut))
}

/// Objects of a list.
struct Objects<T> {
    items: Vec<T>,
    /// True if there are more than are read.
    is_cut: bool,
}

impl<T> Objects<T> {
    /// Says that the list is incomplete, if it is.
    fn cut(&self, what: &str) -> Option<String> {
        self.is_cut.then(|| format!("it has more than {MAX_OBJECTS} {what}; the others were not read"))
    }
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    r#continue: Option<String>,
}

/// Reads a list page by page. A list without end is cut.
async fn list<T: DeserializeOwned>(
    server: &Server,
    path: &str,
    filters: &[(&'static str, String)],
) -> Result<Objects<T>, QueryError> {
    let mut all = Objects { items: Vec::new(), is_cut: false };
    let mut after: Option<String> = None;
    loop {
        let mut pairs = filters.to_vec();
        pairs.push(("limit", PAGE.to_string()));
        pairs.extend(after.take().map(|key| ("continue", key)));
        let page: Page<T> = request::get_within(server, &with_query(path, &pairs), MAX_ANSWER).await?;
        let is_last = page.r#continue.is_none() || page.items.is_empty();
        after = page.r#continue;
        all.items.extend(page.items);
        if is_last {
            return Ok(all);
        }
        if all.items.len() >= MAX_OBJECTS {
            all.is_cut = true;
            return Ok(all);
        }
    }
}
