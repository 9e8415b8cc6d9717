//! `portolan findings`, `listeners` and `connections`: a list, or with `--watch` the list and then its changes.

use portolan_report::answer::NodePod;
use portolan_report::idle::Period;
use portolan_report::junit::Asked;
use portolan_report::table::Width;
use portolan_report::workload_table::{self, PodTotals};
use serde::Deserialize;

use super::agent_query::{AgentQuery, ListQuery};
use super::console::Console;
use super::error::QueryError;
use super::filters::alternatives;
use super::idle::IdlePorts;
use super::junit;
use super::outcome::{end, formatted, is_unready, list_completeness, not_understood};
use super::pages;
use super::server::Server;
use super::show::{self, FindingRows, Subject};
use super::watch;
use crate::args::{FindingsArgs, Format, ListArgs, ListenersArgs, ServerArgs};
use crate::exit::Exit;
use crate::fail_on::object_reaches;

/// Runs `portolan findings`.
pub async fn findings(args: &FindingsArgs, console: &mut Console<'_>) -> Exit {
    let mut watch_filters = args.filter.pairs();
    watch_filters.extend(args.findings.pairs());
    let mut list_filters = watch_filters.clone();
    let is_narrowed = !list_filters.is_empty() || args.state != ["open"];
    list_filters.extend(alternatives("state", &args.state));
    // --watch of open findings also shows when they are resolved.
    if args.state != ["open"] {
        watch_filters.extend(alternatives("state", &args.state));
    }
    let fail_on = args.findings.fail_on;
    // A change is about one pod, so the list before the changes is, too.
    let rows = FindingRows::wanted(args.findings.pods || args.watch);
    let query =
        ListQuery { subject: Subject::Findings, list_filters, watch_filters, is_narrowed, fail_on, rows };
    let Some(output) = args.output.of_lists() else {
        let result = report(args, &query, console).await;
        return end(result, console);
    };
    let server = ServerArgs { agent: args.agent.clone(), output };
    run(&server, query, args.watch, console).await
}

/// Writes a JUnit report of the findings.
async fn report(
    args: &FindingsArgs,
    query: &ListQuery,
    console: &mut Console<'_>,
) -> Result<Exit, QueryError> {
    if args.watch {
        return Err(QueryError::NoStream);
    }
    let server = Server::parse(&args.agent.server)?;
    let path = query.subject.path();
    let list = match pages::gather(&server, path, &query.list_filters).await {
        Ok(list) => list,
        Err(error) => {
            // An empty file is no report: CI systems would not show that nothing answered.
            let asked = Asked { name: format!("agent at {server}"), missing: Some(error.reason()) };
            let text = formatted(&server, path, junit::report(&[], &[asked], None))?;
            // The error of the request is the one to end with, not that its report cannot be written.
            let _ = console.write(&text);
            return Err(error);
        }
    };
    let missing = match &list.broken {
        Some(error) => Some(error.reason()),
        None => is_unready(&server).await.then(|| "the agent is not ready".to_owned()),
    };
    let asked = Asked { name: format!("agent at {server}"), missing };
    let text = formatted(&server, path, junit::report(&list.items, &[asked], query.fail_on))?;
    let fails = list.items.iter().any(|item| object_reaches(item, query.fail_on));
    match console.write(&text) {
        // As in `once`.
        Err(error) if fails && error.is_closed_pipe() => return Ok(Exit::FailOn),
        shown => shown?,
    }
    let exit = list_completeness(&server, &list, console).await?;
    Ok(if fails { Exit::FailOn } else { exit })
}

/// Runs `portolan listeners`.
pub async fn listeners(args: &ListenersArgs, console: &mut Console<'_>) -> Exit {
    let (period, args) = (args.idle.period(), &args.list);
    if let Some(period) = period {
        return end(idle(args, period, console).await, console);
    }
    let query = ListQuery {
        subject: Subject::Listeners,
        list_filters: args.filter.open_pairs(),
        watch_filters: args.filter.pairs(),
        is_narrowed: !args.filter.pairs().is_empty(),
        fail_on: None,
        rows: FindingRows::Pods,
    };
    run(&args.server, query, args.watch, console).await
}

/// Lists the listeners that were not called in a period.
async fn idle(args: &ListArgs, period: Period, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    if args.watch {
        return Err(QueryError::NoIdleStream);
    }
    let server = Server::parse(&args.server.agent.server)?;
    let (subject, format) = (Subject::Listeners, args.server.output);
    let mut list = pages::gather(&server, subject.path(), &args.filter.open_pairs()).await?;
    let found = IdlePorts::retain(&mut list.items, period)
        .map_err(|error| not_understood(&server, subject.path(), &error))?;
    match format {
        Format::Table => found.write_table(Width::Narrow, console)?,
        Format::Wide => found.write_table(Width::Wide, console)?,
        Format::Json | Format::Yaml | Format::Name => {
            let text = show::list(subject, &list, format, &FindingRows::Pods, console.colour());
            console.write(&formatted(&server, subject.path(), text)?)?;
        }
    }
    found.write_notes(console)?;
    list_completeness(&server, &list, console).await
}

/// Runs `portolan connections`.
pub async fn connections(args: &ListArgs, console: &mut Console<'_>) -> Exit {
    let query = ListQuery {
        subject: Subject::Connections,
        list_filters: args.filter.pairs(),
        watch_filters: args.filter.pairs(),
        is_narrowed: !args.filter.pairs().is_empty(),
        fail_on: None,
        rows: FindingRows::Pods,
    };
    run(&args.server, query, args.watch, console).await
}

async fn run(server: &ServerArgs, query: ListQuery, is_followed: bool, console: &mut Console<'_>) -> Exit {
    let result = match Server::parse(&server.agent.server) {
        Ok(parsed) => {
            let query = AgentQuery { server: parsed, query, format: server.output };
            if is_followed { watch::follow(&query, console).await } else { once(query, console).await }
        }
        Err(error) => Err(error),
    };
    end(result, console)
}

async fn once(query: AgentQuery, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let mut query = query;
    let list = query.gather().await?;
    if matches!(query.query.rows, FindingRows::Workloads(_)) && query.is_tabular() && !list.items.is_empty() {
        query.query.rows = FindingRows::Workloads(pod_totals(&query.server).await);
    }
    let fails = list.items.iter().any(|item| query.reaches_fail_on(item));
    let suppressed = query.suppressed_instead(&list).await;
    match query.write_list(&list, suppressed, console) {
        // The exit code of --fail-on holds even if the reader closes the pipe before the end of the list.
        Err(error) if fails && error.is_closed_pipe() => return Ok(Exit::FailOn),
        shown => shown?,
    }
    let exit = list_completeness(&query.server, &list, console).await?;
    Ok(if fails { Exit::FailOn } else { exit })
}

/// Returns the number of pods of each workload on the agent's node. An older agent does not tell them.
async fn pod_totals(server: &Server) -> PodTotals {
    let Ok(list) = pages::gather(server, pages::PODS, &[]).await else { return PodTotals::new() };
    let pods: Vec<NodePod> = list.items.iter().filter_map(|item| NodePod::deserialize(item).ok()).collect();
    workload_table::pod_totals(pods.iter().map(|pod| (&pod.pod, pod.envelope.node.as_str())))
}
