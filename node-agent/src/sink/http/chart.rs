//! `/v1/chart`: rows of workloads' ports. The lists are read page by page, so that the engine's owner is never held for long, and
//! folded outside of its thread. One chart is made at a time, which bounds the memory.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use portolan_report::answer::NodePod;
use portolan_report::chart::Chart;
use portolan_report::chart_export::{counted_ports, csv, file_name, ndjson};
use portolan_report::chart_filter::RowFilter;
use portolan_report::chart_fold::{ChartFold, ChartHeader};
use portolan_report::facts::Facts;
use portolan_report::filter::Filter;
use portolan_report::wire::Report;

use super::HttpState;
use super::handling::{ANSWER_TIMEOUT, Pairs, ask, json};
use super::params::{check_values, parse};
use super::problem::Problem;
use super::query::{ChartFacts, ListAnswer, ListQuery, Query, WantedMinutes};
use crate::pipeline::finding_index::number;

/// Objects that are asked for at once.
const PAGE: usize = 256;
/// Maximum of the parameter `declared`.
pub const MAX_DECLARED: usize = 1000;
/// Ports without a finding that are listed if there are no more of them.
const DEFAULT_DECLARED: usize = 64;
/// Parameters that are compared with rows. The others select findings and listeners.
const OF_ROWS: [&str; 8] = ["q", "namespace", "caller", "code", "severity", "state", "fingerprint", "since"];

/// Form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    #[default]
    Json,
    Csv,
    Ndjson,
}

/// What is asked for.
#[derive(Clone, Debug)]
struct ChartRequest {
    /// Filter of findings and listeners.
    filter: Filter,
    /// Parameters of the filter of rows, which needs the time.
    of_rows: Vec<(String, String)>,
    /// The filter of rows, as of another time.
    rows: RowFilter,
    declared: usize,
    output: Output,
}

impl ChartRequest {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let (mut of_objects, mut of_rows) = (Vec::new(), Vec::new());
        let (mut declared, mut output) = (DEFAULT_DECLARED, Output::default());
        for (name, value) in pairs {
            match name.as_str() {
                "declared" => {
                    declared =
                        value.parse().ok().filter(|count| *count <= MAX_DECLARED).ok_or_else(|| {
                            let detail = format!("{value:?}: expected a number from 0 to {MAX_DECLARED}");
                            Problem::bad_parameter("declared", detail)
                        })?;
                }
                "output" => {
                    check_values(name, value)?;
                    output = match value.to_ascii_lowercase().as_str() {
                        "csv" => Output::Csv,
                        "ndjson" => Output::Ndjson,
                        _ => Output::Json,
                    };
                }
                name if OF_ROWS.contains(&name) => {
                    if matches!(name, "code" | "severity" | "state") {
                        value.split(',').try_for_each(|value| check_values(name, value))?;
                    }
                    of_rows.push((name.to_owned(), value.clone()));
                }
                _ => of_objects.push((name.clone(), value.clone())),
            }
        }
        let mut filter = parse(&of_objects)?.filter;
        let rows = row_filter(&of_rows, Timestamp::UNIX_EPOCH)?;
        // Rows of other namespaces need not be made.
        filter.namespace = rows.namespaces().to_vec();
        Ok(Self { filter, of_rows, rows, declared, output })
    }
}

impl ChartRequest {
    /// Returns the fingerprints to which rows are restricted, those that are some; `None` if rows are not restricted.
    fn fingerprints(&self) -> Option<BTreeSet<u128>> {
        let wanted = self.rows.fingerprints();
        (!wanted.is_empty()).then(|| wanted.iter().filter_map(|wanted| number(wanted)).collect())
    }
}

fn row_filter(pairs: &[(String, String)], now: Timestamp) -> Result<RowFilter, Problem> {
    let mut filter = RowFilter::default();
    for (name, value) in pairs {
        filter.add(name, value, now).map_err(|detail| Problem::bad_parameter(name, detail))?;
    }
    Ok(filter)
}

/// Answers `/v1/chart`.
pub async fn chart(State(s): State<HttpState>, pairs: Pairs) -> Result<Response, Problem> {
    let request = ChartRequest::parse(&pairs.0)?;
    let turn = tokio::time::timeout(ANSWER_TIMEOUT, s.chart_turn.acquire()).await;
    let _turn = turn.ok().and_then(Result::ok).ok_or_else(Problem::busy)?;
    let as_of = s.watch_log.last_id();
    let fingerprints = request.fingerprints();
    let minutes = fingerprints.clone().map_or(WantedMinutes::All, WantedMinutes::Of);
    let facts = ask(&s, |reply| Query::Chart(minutes, reply)).await?;
    let now: Timestamp = facts.envelope.time.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let rows = row_filter(&request.of_rows, now)?;
    let fold = folded(&s, &request, fingerprints, (facts, as_of)).await?;
    let (declared, output) = (request.declared, request.output);
    let write = move || respond(fold.finish(declared, |row| rows.lets_through(row)), output);
    tokio::task::spawn_blocking(write).await.map_err(|_| Problem::busy())
}

/// Reads pods, findings and listeners; of ports with `fingerprints` only, if they are given.
async fn folded(
    s: &HttpState,
    request: &ChartRequest,
    fingerprints: Option<BTreeSet<u128>>,
    (facts, as_of): (ChartFacts, String),
) -> Result<ChartFold, Problem> {
    let ChartFacts { envelope, started_at, minutes, .. } = facts;
    let (cluster, node, time) = (envelope.cluster, envelope.node, envelope.time);
    let mut fold = ChartFold::with_header(ChartHeader { cluster, node, time, as_of, started_at });
    read_pods(s, &request.filter, &mut fold).await?;
    let ended = read_findings(s, request, fingerprints.as_ref(), &mut fold).await?;
    match fingerprints {
        None => read_listeners(s, request.filter.clone(), &mut fold, |_| true).await?,
        // Fingerprints are those of findings: only where one was resolved, the port that is still served is told.
        Some(fingerprints) if !ended.is_empty() => {
            let mut filter = request.filter.clone();
            if filter.port.is_empty() {
                filter.port = ended.into_iter().collect();
            }
            let is_wanted =
                |fingerprint: &str| number(fingerprint).is_some_and(|number| fingerprints.contains(&number));
            read_listeners(s, filter, &mut fold, is_wanted).await?;
        }
        Some(_) => {}
    }
    for (fingerprint, minutes) in minutes {
        fold.add_minutes(&format!("{fingerprint:032x}"), &minutes);
    }
    Ok(fold)
}

/// Reads the findings. Returns the ports of the resolved ones.
async fn read_findings(
    s: &HttpState,
    request: &ChartRequest,
    fingerprints: Option<&BTreeSet<u128>>,
    fold: &mut ChartFold,
) -> Result<BTreeSet<u16>, Problem> {
    let mut ended = BTreeSet::new();
    if fingerprints.is_some_and(BTreeSet::is_empty) {
        return Ok(ended);
    }
    let mut filter = request.filter.clone();
    if request.rows.asks_for_resolved() {
        filter.state = ["open", "suppressed", "resolved"].map(str::to_owned).to_vec();
    }
    let fingerprints = fingerprints.cloned();
    let mut list = ListQuery { filter, limit: PAGE, fingerprints, ..ListQuery::default() };
    loop {
        let answer = ask(s, |reply| Query::Findings(list.clone(), reply)).await?;
        let ListAnswer::Page(page) = answer else { break };
        for report in &page.items {
            let Report::Finding(finding) = report else { continue };
            fold.add_finding(finding);
            ended.extend(finding.port.filter(|_| finding.state == "resolved"));
        }
        list.after = page.r#continue;
        if list.after.is_none() {
            break;
        }
    }
    Ok(ended)
}

/// Reads the listeners with a fingerprint that is wanted.
async fn read_listeners(
    s: &HttpState,
    filter: Filter,
    fold: &mut ChartFold,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), Problem> {
    let mut list = ListQuery { filter, limit: PAGE, ..ListQuery::default() };
    loop {
        let answer = ask(s, |reply| Query::Listeners(list.clone(), reply)).await?;
        let ListAnswer::Page(page) = answer else { break };
        for report in &page.items {
            let Report::Listener(listener) = report else { continue };
            if is_wanted(&listener.fingerprint) {
                fold.add_listener(listener);
            }
        }
        list.after = page.r#continue;
        if list.after.is_none() {
            break;
        }
    }
    Ok(())
}

/// Reads the pods: all of them name callers, and those that the filter selects are counted.
async fn read_pods(s: &HttpState, filter: &Filter, fold: &mut ChartFold) -> Result<(), Problem> {
    let of_pods = Filter { protocol: Vec::new(), port: Vec::new(), origin: Vec::new(), ..filter.clone() };
    let mut list = ListQuery { limit: PAGE, ..ListQuery::default() };
    let mut looked_at = 0_u64;
    loop {
        let page = ask(s, |reply| Query::Pods(list.clone(), reply)).await?;
        for pod in &page.items {
            looked_at = looked_at.saturating_add(u64::from(selects(&of_pods, pod)));
            fold.add_pod(pod);
        }
        list.after = page.r#continue;
        if list.after.is_none() {
            break;
        }
    }
    fold.set_pods_looked_at(looked_at);
    Ok(())
}

fn selects(filter: &Filter, pod: &NodePod) -> bool {
    let workload = pod.pod.workload.as_ref();
    filter.lets_through(&Facts {
        namespace: Some(&pod.pod.namespace),
        pod: Some(&pod.pod.name),
        workload: workload.map(|workload| (workload.kind.as_str(), workload.name.as_str())),
        labels: pod.pod.labels.as_ref(),
        ..Facts::default()
    })
}

fn respond(chart: Chart, output: Output) -> Response {
    let (kind, extension, text) = match output {
        Output::Json => return json(&chart),
        Output::Csv => ("text/csv; charset=utf-8", "csv", csv(&chart.rows)),
        Output::Ndjson => {
            let Ok(text) = ndjson(&chart.rows) else { return Problem::busy().into_response() };
            ("application/x-ndjson", "ndjson", text)
        }
    };
    let disposition = format!("attachment; filename=\"{}\"", file_name(&chart, extension));
    // Rows beyond the maximum, and ports that are only counted, are not in the file.
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::HeaderName::from_static("portolan-unlisted-rows"), chart.totals.unlisted.to_string()),
        (header::HeaderName::from_static("portolan-counted-ports"), counted_ports(&chart).to_string()),
    ];
    (headers, text).into_response()
}
