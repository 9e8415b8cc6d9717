//! `/v1/chart`: rows of workloads' ports. The lists are read page by page, so that the engine's owner is never held for long, and
//! folded outside of its thread. One chart is made at a time, which bounds the memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use portolan_report::answer::NodePod;
use portolan_report::chart::{Chart, DEFAULT_DECLARED, declared_limit};
use portolan_report::chart_export::{Form, export};
use portolan_report::chart_filter::{RowFilter, STATES};
use portolan_report::chart_fold::{ChartFold, ChartHeader};
use portolan_report::facts::Facts;
use portolan_report::filter::Filter;
use portolan_report::wire::Report;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::HttpState;
use super::handling::{ANSWER_TIMEOUT, Pairs, ask, json};
use super::params::{check_among, check_values, parse};
use super::problem::Problem;
use super::query::{ChartFacts, ListAnswer, ListQuery, Query, WantedMinutes};
use crate::pipeline::finding_index::number;

/// Objects that are asked for at once.
const PAGE: usize = 256;
/// Parameters that are compared with rows. The others select findings and listeners.
const OF_ROWS: [&str; 8] = ["q", "namespace", "caller", "code", "severity", "state", "fingerprint", "since"];

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
    form: Form,
}

impl ChartRequest {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let (mut of_objects, mut of_rows) = (Vec::new(), Vec::new());
        let (mut declared, mut form) = (DEFAULT_DECLARED, Form::default());
        for (name, value) in pairs {
            match name.as_str() {
                "declared" => {
                    let limit = declared_limit(value);
                    declared = limit.map_err(|detail| Problem::bad_parameter(name, detail))?;
                }
                "output" => {
                    check_values(name, value)?;
                    form = Form::of(&value.to_ascii_lowercase()).unwrap_or_default();
                }
                name if OF_ROWS.contains(&name) => {
                    match name {
                        "code" | "severity" => {
                            value.split(',').try_for_each(|value| check_values(name, value))?;
                        }
                        "state" => {
                            value.split(',').try_for_each(|value| check_among(name, value, &STATES))?
                        }
                        _ => {}
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
        Ok(Self { filter, of_rows, rows, declared, form })
    }

    /// Returns the ports whose calls per minute are told. They are those of all pods of a workload, so that rows of some of its
    /// findings have none.
    fn wanted_minutes(&self, fingerprints: Option<&BTreeSet<u128>>) -> WantedMinutes {
        let Filter { pod, labels, origin, .. } = &self.filter;
        if !pod.is_empty() || !origin.is_empty() || !labels.is_empty() {
            return WantedMinutes::None;
        }
        fingerprints.cloned().map_or(WantedMinutes::All, WantedMinutes::Of)
    }

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
    let turn = tokio::time::timeout(ANSWER_TIMEOUT, Arc::clone(&s.chart_turn).acquire_owned()).await;
    let turn = turn.ok().and_then(Result::ok).ok_or_else(Problem::busy)?;
    let as_of = s.watch_log.last_id();
    let fingerprints = request.fingerprints();
    let minutes = request.wanted_minutes(fingerprints.as_ref());
    let facts = ask(&s, |reply| Query::Chart(minutes, reply)).await?;
    let now: Timestamp = facts.envelope.time.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let rows = row_filter(&request.of_rows, now)?;
    let fold = folded(&s, &request, fingerprints, (facts, as_of)).await?;
    let (declared, form) = (request.declared, request.form);
    let write = move || respond(fold.finish(declared, |row| rows.lets_through(row)), form);
    in_turn(turn, write).await
}

/// Does this outside of the runtime's threads. The turn ends with the work, also if the client goes before: nothing stops the work.
async fn in_turn<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let work = move || {
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::busy())
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
    let read = read_findings(s, request, fingerprints.as_ref(), &mut fold).await?;
    match fingerprints {
        None => read_listeners(s, request.filter.clone(), &mut fold, |_| true).await?,
        // A row with a finding needs no listener, unless its findings are resolved and the port is still served.
        Some(fingerprints) if !read.ended.is_empty() || !fingerprints.is_subset(&read.found) => {
            let mut filter = request.filter.clone();
            if filter.port.is_empty() && fingerprints.is_subset(&read.found) {
                filter.port = read.ended.into_iter().collect();
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

/// What the findings say of the listeners that are needed, too.
#[derive(Default)]
struct ReadFindings {
    /// Fingerprints of the findings.
    found: BTreeSet<u128>,
    /// Ports of the resolved ones.
    ended: BTreeSet<u16>,
}

/// Reads the findings.
async fn read_findings(
    s: &HttpState,
    request: &ChartRequest,
    fingerprints: Option<&BTreeSet<u128>>,
    fold: &mut ChartFold,
) -> Result<ReadFindings, Problem> {
    let mut read = ReadFindings::default();
    if fingerprints.is_some_and(BTreeSet::is_empty) {
        return Ok(read);
    }
    let mut filter = request.filter.clone();
    if request.rows.asks_for_resolved() {
        filter.state = STATES.map(str::to_owned).to_vec();
    }
    let list = ListQuery { filter, fingerprints: fingerprints.cloned(), ..ListQuery::default() };
    read_list(s, list, Query::Findings, |report| {
        let Report::Finding(finding) = report else { return };
        fold.add_finding(finding);
        read.found.extend(number(&finding.fingerprint).filter(|_| fingerprints.is_some()));
        read.ended.extend(finding.port.filter(|_| finding.state == "resolved"));
    })
    .await?;
    Ok(read)
}

/// Reads the listeners with a fingerprint that is wanted.
async fn read_listeners(
    s: &HttpState,
    filter: Filter,
    fold: &mut ChartFold,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), Problem> {
    let list = ListQuery { filter, ..ListQuery::default() };
    read_list(s, list, Query::Listeners, |report| {
        let Report::Listener(listener) = report else { return };
        if is_wanted(&listener.fingerprint) {
            fold.add_listener(listener);
        }
    })
    .await
}

/// Reads a list page by page.
async fn read_list(
    s: &HttpState,
    mut list: ListQuery,
    query: fn(ListQuery, oneshot::Sender<ListAnswer>) -> Query,
    mut take: impl FnMut(&Report),
) -> Result<(), Problem> {
    list.limit = PAGE;
    loop {
        let answer = ask(s, |reply| query(list.clone(), reply)).await?;
        let ListAnswer::Page(page) = answer else { break };
        page.items.iter().for_each(&mut take);
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

fn respond(chart: Chart, form: Form) -> Response {
    match export(&chart, form) {
        Ok(None) => json(&chart),
        Ok(Some(file)) => {
            ([(header::CONTENT_TYPE, file.content_type)], file.headers, file.text).into_response()
        }
        Err(_) => Problem::busy().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_client_that_goes_leaves_no_second_chart_beside_its_own() {
        let turns = Arc::new(Semaphore::new(1));
        let turn = Arc::clone(&turns).acquire_owned().await.expect("a turn");
        let (end, ended) = mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::channel(1);
        let making = in_turn(turn, move || {
            begin.blocking_send(()).expect("the test waits");
            ended.recv().expect("the test ends it");
        });
        tokio::select! {
            _ = making => panic!("it ends later"),
            begun = begun.recv() => begun.expect("it begins"),
        }
        assert_eq!(turns.available_permits(), 0, "the client is gone, and its chart is still made");
        end.send(()).expect("it waits");
        let next = tokio::time::timeout(Duration::from_secs(10), turns.acquire()).await;
        assert!(next.is_ok(), "the turn ends with the work");
    }
}
