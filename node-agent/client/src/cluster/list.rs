//! `kubectl portolan findings`, `listeners` and `top`: lists of all nodes, merged.

use portolan_engine::model::finding_code::Severity;
use portolan_report::idle::Period;
use portolan_report::junit::Asked;
use portolan_report::table::Width;

use super::args::{ClusterArgs, FindingsArgs, ListArgs, ListenersArgs, TopCommandArgs};
use super::error::ClusterError;
use super::fleet::{Answers, Fleet, Question};
use super::names::Names;
use crate::args::{FindingsFormat, Format};
use crate::exit::Exit;
use crate::fail_on::object_reaches;
use crate::query::console::Console;
use crate::query::error::QueryError;
use crate::query::filters::{Scope, WhenEmpty, suppressed_only};
use crate::query::idle::IdlePorts;
use crate::query::junit;
use crate::query::show::{self, FindingRows, FormatError, Subject};
use crate::query::top as busiest;

/// Shows the findings of all nodes.
pub(super) async fn findings(
    cluster: &ClusterArgs,
    args: &FindingsArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let shown = ask_and_write_findings(cluster, args, console).await;
    report_failure(shown, args.output, console)
}

/// Writes a JUnit report of the error with which a command ends, if that is the output format: an empty file is no report.
pub(super) fn report_failure(
    result: Result<Exit, ClusterError>,
    output: FindingsFormat,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    if let Err(error) = &result
        && !matches!(error, ClusterError::Query(QueryError::Output(_)))
    {
        // The error of the command is the one to end with, not that its report cannot be written.
        let _ = write_unanswered(error.to_string(), output, console);
    }
    result
}

/// Writes a JUnit report that says why there is no answer, if that is the output format.
pub(super) fn write_unanswered(
    reason: String,
    output: FindingsFormat,
    console: &mut Console<'_>,
) -> Result<(), ClusterError> {
    if output.of_lists().is_some() {
        return Ok(());
    }
    let asked = Asked { name: "the cluster".to_owned(), missing: Some(reason) };
    Ok(console.write(&junit::report(&[], &[asked], None).map_err(ClusterError::NotUnderstood)?)?)
}

async fn ask_and_write_findings(
    cluster: &ClusterArgs,
    args: &FindingsArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let fleet = Fleet::find(cluster).await?;
    let mut filters = args.findings.pairs();
    filters.extend(args.filter.pairs());
    filters.push(("state", args.state.join(",")));
    let subject = Subject::Findings;
    let mut answers = fleet.ask(&Question::List(subject.path(), filters.clone())).await?;
    // The table of workloads needs the pods of all nodes, also of findings without callers.
    let is_of_workloads = !args.findings.pods && args.output.is_table() && !answers.items.is_empty();
    let names =
        if is_of_workloads { Names::ask(&fleet).await } else { Names::ask_for(&fleet, &answers.items).await };
    answers.items.iter_mut().for_each(|item| names.fill(item));
    let rows = if is_of_workloads { FindingRows::Workloads(names.pod_totals()) } else { FindingRows::Pods };
    let suppressed = if answers.items.is_empty() && args.state == ["open"] {
        let question = Question::List(subject.path(), suppressed_only(&filters));
        fleet.ask(&question).await.map_or(0, |answers| answers.items.len())
    } else {
        0
    };
    let empty = WhenEmpty { is_narrowed: is_narrowed(args), suppressed };
    let shown = write_findings(&answers, empty, (args.output, &rows), args.findings.fail_on, console);
    finish_shown(shown, &answers, args.findings.fail_on, console)
}

/// Returns true if the user gave filters.
fn is_narrowed(args: &FindingsArgs) -> bool {
    !(args.filter.pairs().is_empty() && args.findings.pairs().is_empty()) || args.state != ["open"]
}

/// Writes merged findings as a list or as a JUnit report.
pub(super) fn write_findings(
    answers: &Answers,
    empty: WhenEmpty,
    (output, rows): (FindingsFormat, &FindingRows),
    fail_on: Option<Severity>,
    console: &mut Console<'_>,
) -> Result<(), ClusterError> {
    if let Some(format) = output.of_lists() {
        return write_list(Subject::Findings, answers, empty, (format, rows), console);
    }
    let report = junit::report(&answers.items, &answers.asked(), fail_on);
    Ok(console.write(&report.map_err(ClusterError::NotUnderstood)?)?)
}

/// Shows the listeners of all nodes.
pub(super) async fn listeners(
    cluster: &ClusterArgs,
    args: &ListenersArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let (period, args) = (args.idle.period(), &args.list);
    let subject = Subject::Listeners;
    let question = Question::List(subject.path(), args.filter.open_pairs());
    let mut answers = Fleet::find(cluster).await?.ask_named(&question).await?;
    if let Some(period) = period {
        write_idle(&mut answers, period, args.output, console)?;
        return finish(&answers, None, console);
    }
    let empty = WhenEmpty { is_narrowed: !args.filter.pairs().is_empty(), suppressed: 0 };
    write_list(subject, &answers, empty, (args.output, &FindingRows::Pods), console)?;
    finish(&answers, None, console)
}

/// Writes the listeners that were not called in a period.
fn write_idle(
    answers: &mut Answers,
    period: Period,
    output: Format,
    console: &mut Console<'_>,
) -> Result<(), ClusterError> {
    let found = IdlePorts::retain(&mut answers.items, period).map_err(ClusterError::NotUnderstood)?;
    match output {
        // Where no agent answered, nothing is known.
        Format::Table | Format::Wide if answers.nodes.is_empty() => {}
        Format::Table => found.write_table(Width::Cluster, console)?,
        Format::Wide => found.write_table(Width::Wide, console)?,
        Format::Json | Format::Yaml | Format::Name => {
            let empty = WhenEmpty::default();
            write_list(Subject::Listeners, answers, empty, (output, &FindingRows::Pods), console)?;
        }
    }
    Ok(found.write_notes(console)?)
}

/// Shows the connections of all nodes that have a record of their own.
pub(super) async fn connections(
    cluster: &ClusterArgs,
    args: &ListArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let subject = Subject::Connections;
    let question = Question::List(subject.path(), args.filter.pairs());
    let answers = Fleet::find(cluster).await?.ask_named(&question).await?;
    let empty = WhenEmpty { is_narrowed: !args.filter.pairs().is_empty(), suppressed: 0 };
    write_list(subject, &answers, empty, (args.output, &FindingRows::Pods), console)?;
    finish(&answers, None, console)
}

/// Shows the busiest ports of all nodes, by workload.
pub(super) async fn top(
    cluster: &ClusterArgs,
    args: &TopCommandArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let question = Question::List(Subject::Listeners.path(), args.filter.open_pairs());
    let answers = Fleet::find(cluster).await?.ask_named(&question).await?;
    let text = busiest::show(&answers.items, &args.top, args.output).map_err(ClusterError::NotUnderstood)?;
    if text.is_empty() {
        console.message(&busiest::nothing_found(&args.filter, &args.top, Scope::AllNodes))?;
    } else {
        console.write(&text)?;
    }
    finish(&answers, None, console)
}

/// Writes a merged list. An empty table has no rows to write, so a message says that it is `empty`.
pub(super) fn write_list(
    subject: Subject,
    answers: &Answers,
    empty: WhenEmpty,
    (output, rows): (Format, &FindingRows),
    console: &mut Console<'_>,
) -> Result<(), ClusterError> {
    let text = list(subject, answers, (output, rows), console).map_err(ClusterError::NotUnderstood)?;
    let is_empty_table = answers.items.is_empty() && matches!(output, Format::Table | Format::Wide);
    if !is_empty_table {
        console.write(&text)?;
    } else if !answers.nodes.is_empty() {
        // Where no agent answered, nothing is known.
        console.message(&empty.message(&text))?;
    }
    Ok(())
}

/// As [`finish`], after findings were `shown`. The exit code of `--fail-on` holds even if the reader closes the pipe before the end.
pub(super) fn finish_shown(
    shown: Result<(), ClusterError>,
    answers: &Answers,
    fail_on: Option<Severity>,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    match shown.and_then(|()| finish(answers, fail_on, console)) {
        Err(error) if error.is_closed_pipe() && fails(answers, fail_on) => Ok(Exit::FailOn),
        ended => ended,
    }
}

fn fails(answers: &Answers, fail_on: Option<Severity>) -> bool {
    answers.items.iter().any(|item| object_reaches(item, fail_on))
}

/// Names the nodes that are missing, and returns the exit code.
pub(super) fn finish(
    answers: &Answers,
    fail_on: Option<Severity>,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let is_partial = answers.report_missing(console)?;
    Ok(match (fails(answers, fail_on), is_partial) {
        (true, _) => Exit::FailOn,
        (false, true) => Exit::Partial,
        (false, false) => Exit::Fine,
    })
}

/// Formats the merged list. JSON and YAML also name the nodes that answered and the nodes that are missing.
fn list(
    subject: Subject,
    answers: &Answers,
    (output, rows): (Format, &FindingRows),
    console: &Console<'_>,
) -> Result<String, FormatError> {
    match output {
        Format::Json => Ok(show::pretty(&answers.object())),
        Format::Yaml => show::yaml(&answers.object()),
        Format::Name => show::names(subject, &answers.items),
        Format::Table => show::table(subject, &answers.items, Width::Cluster, rows, console.colour()),
        Format::Wide => show::table(subject, &answers.items, Width::Wide, rows, console.colour()),
    }
}
