//! Reads everything that the page needs from one agent. Every answer is bounded, and a part that is missing is said.

use jiff::Timestamp;
use portolan_report::answer::NodePod;
use portolan_report::chart::{Chart, MAX_DECLARED, MAX_ROWS, MINUTES};
use portolan_report::chart_filter::STATES;
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
/// Items of a page of a list.
const PAGE: usize = 500;
/// Maximum number of objects that are read of one list.
const MAX_OBJECTS: usize = 50_000;
/// Maximum number of bytes of all lists of one reading.
const MAX_LISTS: usize = 64 << 20;

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
    let mut lists = Lists { server, left: MAX_LISTS };
    let mut pods = Vec::new();
    let pods = match lists.read::<NodePod>("pods", PODS, &[], |pod| pods.push(pod)).await {
        Ok(cut) => {
            incomplete = cut;
            Some(pods)
        }
        Err(error) if is_unknown_route(&error) => {
            lacks.push("pods: callers are not named, and pods are not counted".to_owned());
            None
        }
        Err(error) => return Err(error),
    };
    let pairs = [("declared", MAX_DECLARED.to_string()), ("state", STATES.join(","))];
    let chart = match request::get_within(server, &with_query(CHART, &pairs), MAX_ANSWER).await {
        Ok(chart) => checked(server, chart)?,
        Err(error) if is_unknown_route(&error) => {
            lacks
                .push("counts: they are read again when a finding changes, and every two minutes".to_owned());
            lacks.push(
                "changes: when a finding changed is unknown, and so are connections per minute".to_owned(),
            );
            let (chart, cut) = of_lists(&mut lists, &status, pods.as_deref()).await?;
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

/// As [`fit`], with the error of an answer.
pub(super) fn checked(server: &Server, chart: Chart) -> Result<Chart, QueryError> {
    fit(chart).map_err(|reason| QueryError::NotUnderstood {
        server: server.to_string(),
        path: CHART.to_owned(),
        reason,
    })
}

/// Returns an agent's chart as it is kept: its own rows and counts only.
///
/// # Errors
/// One line that says what is wrong, if it has more rows or declared ports than a chart can have, or no time.
pub(super) fn fit(mut chart: Chart) -> Result<Chart, String> {
    let declared = chart.declared.len();
    for (count, what) in [(chart.rows.len(), "rows"), (declared, "workloads with declared ports")] {
        if count > MAX_ROWS {
            return Err(format!("it has {count} {what}; expected {MAX_ROWS} at most"));
        }
    }
    if chart.time.parse::<Timestamp>().is_err() {
        let time: String = chart.time.chars().take(60).collect();
        return Err(format!("its time is {time:?}; expected one such as 2027-01-31T12:00:00Z"));
    }
    for row in &mut chart.rows {
        row.for_each_part(|row| drop(row.minutes.drain(..row.minutes.len().saturating_sub(MINUTES))));
    }
    chart.missing.clear();
    Ok(chart)
}

/// Makes the chart of an older agent from its lists. Also says why it is incomplete.
async fn of_lists(
    lists: &mut Lists<'_>,
    status: &AgentStatus,
    pods: Option<&[NodePod]>,
) -> Result<(Chart, Option<String>), QueryError> {
    let envelope = &status.envelope;
    let mut fold = ChartFold::with_header(ChartHeader {
        cluster: envelope.cluster.clone(),
        node: envelope.node.clone(),
        time: envelope.time.clone(),
        started_at: status.started_at.clone().unwrap_or_default(),
        ..ChartHeader::default()
    });
    let states = [("state", STATES.join(","))];
    let path = Subject::Findings.path();
    let findings =
        lists.read("findings", path, &states, |finding: Finding| fold.add_finding(&finding)).await?;
    let path = Subject::Listeners.path();
    let listeners =
        lists.read("listeners", path, &[], |listener: Listener| fold.add_listener(&listener)).await?;
    for pod in pods.unwrap_or_default() {
        fold.add_pod(pod);
    }
    fold.set_pods_looked_at(pods.map_or(0, |pods| pods.len() as u64));
    let chart = checked(lists.server, fold.finish(MAX_DECLARED, |_| true))?;
    Ok((chart, findings.or(listeners)))
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    r#continue: Option<String>,
}

/// The lists of one agent.
struct Lists<'a> {
    server: &'a Server,
    /// Bytes that they may still have.
    left: usize,
}

impl Lists<'_> {
    /// Reads a list page by page. Returns why it is incomplete, if it is: a list without end is cut.
    async fn read<T: DeserializeOwned>(
        &mut self,
        what: &str,
        path: &str,
        filters: &[(&'static str, String)],
        mut take: impl FnMut(T),
    ) -> Result<Option<String>, QueryError> {
        let mut after: Option<String> = None;
        let mut count = 0;
        loop {
            if count >= MAX_OBJECTS {
                return Ok(Some(format!("it has more than {MAX_OBJECTS} {what}; the others were not read")));
            }
            // Another page might not fit.
            if self.left < MAX_ANSWER {
                let most = MAX_LISTS >> 20;
                return Ok(Some(format!(
                    "its lists have more than {most} MiB; the other {what} were not read"
                )));
            }
            let mut pairs = filters.to_vec();
            pairs.push(("limit", PAGE.to_string()));
            pairs.extend(after.take().map(|key| ("continue", key)));
            let path = with_query(path, &pairs);
            let (page, bytes): (Page<T>, usize) = request::get_sized(self.server, &path, MAX_ANSWER).await?;
            self.left = self.left.saturating_sub(bytes);
            count += page.items.len();
            let is_last = page.r#continue.is_none() || page.items.is_empty();
            after = page.r#continue;
            page.items.into_iter().for_each(&mut take);
            if is_last {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_report::chart::{ChartRow, DeclaredPorts, MissingNode};

    use super::*;

    #[test]
    fn a_chart_that_no_agent_writes_is_refused_with_the_reason() {
        let good = Chart { time: "2026-03-04T12:00:00Z".to_owned(), ..Chart::default() };
        let rows = vec![ChartRow::default(); MAX_ROWS + 1];
        let declared = vec![DeclaredPorts::default(); MAX_ROWS + 1];
        for (chart, reason) in [
            (Chart { rows, ..good.clone() }, "it has 5001 rows; expected 5000 at most"),
            (
                Chart { declared, ..good.clone() },
                "it has 5001 workloads with declared ports; expected 5000 at most",
            ),
            (
                Chart { time: "z".to_owned(), ..good.clone() },
                "its time is \"z\"; expected one such as 2027-01-31T12:00:00Z",
            ),
        ] {
            assert_eq!(fit(chart), Err(reason.to_owned()));
        }
        let missing = vec![MissingNode::default()];
        assert_eq!(fit(Chart { missing, ..good.clone() }), Ok(good));
    }
}
