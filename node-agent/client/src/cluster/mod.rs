//! `kubectl portolan`: the client commands for a whole cluster.
//!
//! Asks every agent through the API server's port-forward, so that the agents' API stays on loopback. Merges the answers and
//! names the nodes that did not answer.

mod agents;
pub mod args;
mod ask;
mod candidates;
pub mod completion;
mod error;
mod explain;
mod forward;
mod proxy;
mod refusal;

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::args::Format;
use crate::exit::Exit;
use crate::fail_on::object_reaches;
use crate::query::console::Console;
use crate::query::filters::{Scope, suppressed_only};
use crate::query::show::{self, FormatError, Subject};
use crate::query::top;
use args::{Cli, Command};
use ask::{Answers, Question};
use error::ClusterError;
use portolan_report::table::{self, Width};
use portolan_report::wire::SCHEMA;

/// Runs a command and returns the exit code of the process.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut console = Console::standard();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(answer(cli, &mut console)),
        Err(error) => end(&ClusterError::Start(error), &mut console),
    };
    exit.into()
}

/// Runs a command: asks the agents, shows their answers, and names the nodes that did not answer.
pub async fn answer(cli: &Cli, console: &mut Console<'_>) -> Exit {
    match command(cli, console).await {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Fine,
        Err(error) => end(&error, console),
    }
}

fn end(error: &ClusterError, console: &mut Console<'_>) -> Exit {
    // If stderr is closed as well, there is nowhere left to report to.
    let _ = console.message(&error.to_string());
    error.exit()
}

async fn command(cli: &Cli, console: &mut Console<'_>) -> Result<Exit, ClusterError> {
    let mut fail_on = None;
    let (subject, filters) = match &cli.command {
        Command::Completion(args) => return Ok(completion::print(args, console)?),
        Command::Findings(args) => {
            fail_on = args.findings.fail_on;
            let mut filters = args.findings.pairs();
            filters.extend(args.filter.pairs());
            filters.push(("state", args.state.join(",")));
            (Subject::Findings, filters)
        }
        Command::Listeners(args) => (Subject::Listeners, args.filter.open_pairs()),
        Command::Top(args) => (Subject::Listeners, args.filter.open_pairs()),
        Command::Explain(args) => return explain::explain(&cli.cluster, args, console).await,
    };
    let suppressed_filters = suppressed_only(&filters);
    let answers = ask::all_agents(&cli.cluster, &Question::List(subject.path(), filters)).await?;
    let output = cli.command.output();
    let text = match &cli.command {
        Command::Top(args) => top::show(&answers.items, &args.top, output),
        _ => list(subject, &answers, output, console),
    };
    let text = text.map_err(ClusterError::NotUnderstood)?;
    // An empty table has no rows to write, so a message says that it is empty.
    if let (Command::Top(args), "") = (&cli.command, text.as_str()) {
        console.message(&top::nothing_found(&args.filter, &args.top, Scope::AllNodes))?;
    } else if answers.items.is_empty() && matches!(output, Format::Table | Format::Wide) {
        let is_of_open = matches!(&cli.command, Command::Findings(args) if args.state == ["open"]);
        let suppressed = if is_of_open {
            let question = Question::List(subject.path(), suppressed_filters);
            ask::all_agents(&cli.cluster, &question).await.map_or(0, |answers| answers.items.len())
        } else {
            0
        };
        match suppressed {
            // Where no agent answered, nothing is known.
            0 if answers.nodes.is_empty() => {}
            0 => console.message(text.trim_end())?,
            count => console.message(&table::no_open_findings(count))?,
        }
    } else {
        console.write(&text)?;
    }
    let is_partial = answers.report_missing(console)?;
    let fails = answers.items.iter().any(|item| object_reaches(item, fail_on));
    Ok(match (fails, is_partial) {
        (true, _) => Exit::FailOn,
        (false, true) => Exit::Partial,
        (false, false) => Exit::Fine,
    })
}

/// Formats the merged list. JSON and YAML also name the nodes that answered and the nodes that are missing.
fn list(
    subject: Subject,
    answers: &Answers,
    output: Format,
    console: &Console<'_>,
) -> Result<String, FormatError> {
    let object = || {
        let missing: Vec<Value> = answers
            .missing
            .iter()
            .map(|missing| json!({ "node": missing.node, "reason": missing.reason }))
            .collect();
        json!({ "schema": SCHEMA, "items": answers.items, "nodes": answers.nodes, "missing": missing })
    };
    match output {
        Format::Json => Ok(show::pretty(&object())),
        Format::Yaml => show::yaml(&object()),
        Format::Name => show::names(subject, &answers.items),
        Format::Table => show::table(subject, &answers.items, Width::Cluster, console.colour()),
        Format::Wide => show::table(subject, &answers.items, Width::Wide, console.colour()),
    }
}
