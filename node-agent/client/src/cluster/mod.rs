//! `kubectl portolan`: the client commands over the whole cluster. Every agent is asked through the API server's port-forward,
//! so that its API stays on loopback; the answers are merged, and who did not answer is said.

mod agents;
pub mod args;
mod ask;
mod explain;
mod forward;

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::args::{FilterArgs, Format};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::show::{self, NotShown, Subject};
use crate::query::{Seen, top};
use args::{Cli, Command};
use ask::{Answers, ClusterError, Question};
use portolan_engine::model::finding_code::Severity;
use portolan_report::table::Width;
use portolan_report::wire::SCHEMA;

/// Runs what was typed.
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

/// Asks the agents, shows what they answered, and says who did not.
pub async fn answer(cli: &Cli, console: &mut Console<'_>) -> Exit {
    match command(cli, console).await {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Fine,
        Err(error) => end(&error, console),
    }
}

fn end(error: &ClusterError, console: &mut Console<'_>) -> Exit {
    // Nobody is left to tell if stderr is gone too.
    let _ = console.say(&error.to_string());
    error.exit()
}

async fn command(cli: &Cli, console: &mut Console<'_>) -> Result<Exit, ClusterError> {
    let mut fail_on = None;
    let (subject, filters) = match &cli.command {
        Command::Findings(args) => {
            fail_on = args.findings.fail_on;
            let mut filters = args.findings.filters();
            filters.extend(args.filter.filters());
            filters.push(("state", args.state.join(",")));
            (Subject::Findings, filters)
        }
        Command::Listeners(args) => (Subject::Listeners, open(&args.filter)),
        Command::Top(args) => (Subject::Listeners, open(&args.filter)),
        Command::Explain(args) => return explain::explain(&cli.cluster, args, console).await,
    };
    let answers = ask::everyone(&cli.cluster, &Question::List(subject.path(), filters)).await?;
    let output = cli.command.output();
    let text = match &cli.command {
        Command::Top(args) => top::show(&answers.items, &args.top, output),
        _ => list(subject, &answers, output, console),
    };
    let text = text.map_err(ClusterError::NotUnderstood)?;
    // That a table is empty is no row of it, so it is said instead.
    if let (Command::Top(args), "") = (&cli.command, text.as_str()) {
        console.say(&args.filter.none_of(
            "port that is listened on",
            args.top.undeclared,
            Seen::ByAllNodes,
        ))?;
    } else if answers.items.is_empty() && matches!(output, Format::Table | Format::Wide) {
        console.say(text.trim_end())?;
    } else {
        console.write(&text)?;
    }
    let is_partial = say_who_is_missing(&answers, console)?;
    let fails = fail_on.is_some_and(|bad| answers.items.iter().any(|item| reaches(item, bad)));
    Ok(match (fails, is_partial) {
        (true, _) => Exit::FailOn,
        (false, true) => Exit::Partial,
        (false, false) => Exit::Fine,
    })
}

fn open(filter: &FilterArgs) -> Vec<(&'static str, String)> {
    let mut filters = filter.filters();
    filters.push(("state", "open".to_owned()));
    filters
}

/// One list of all nodes: as the agents' lists, and which nodes it is from.
fn list(
    subject: Subject,
    answers: &Answers,
    output: Format,
    console: &Console<'_>,
) -> Result<String, NotShown> {
    let whole = || {
        let missing: Vec<Value> = answers
            .missing
            .iter()
            .map(|missing| json!({ "node": missing.node, "reason": missing.reason }))
            .collect();
        json!({ "schema": SCHEMA, "items": answers.items, "nodes": answers.nodes, "missing": missing })
    };
    match output {
        Format::Json => Ok(show::pretty(&whole())),
        Format::Yaml => show::yaml(&whole()),
        Format::Name => show::names(subject, &answers.items),
        Format::Table => show::table(subject, &answers.items, Width::Cluster, console.colour()),
        Format::Wide => show::table(subject, &answers.items, Width::Wide, console.colour()),
    }
}

/// Whether anybody is.
fn say_who_is_missing(answers: &Answers, console: &mut Console<'_>) -> Result<bool, ClusterError> {
    if answers.missing.is_empty() {
        return Ok(false);
    }
    let asked = answers.nodes.len() + answers.missing.iter().filter(|missing| !missing.answered).count();
    console.say(&format!(
        "the answer is partial: of {asked} nodes with an agent, {} could not be asked in full:",
        answers.missing.len()
    ))?;
    for missing in &answers.missing {
        console.say(&format!("  {}: {}", missing.node, missing.reason))?;
    }
    Ok(true)
}

fn reaches(item: &Value, bad: Severity) -> bool {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    text("state") == Some("open")
        && text("severity").and_then(Severity::parse).is_some_and(|severity| severity >= bad)
}
