//! `portolan explain`: asks an agent about one target and shows the explanation.

use std::io;

use portolan_engine::read::explain::target::Target;
use serde_json::Value;
use terminal_size::{Width, terminal_size_of};

use super::console::Console;
use super::error::QueryError;
use super::outcome::{end, formatted, is_unready, report_readiness};
use super::server::Server;
use super::{request, show, url};
use crate::args::ExplainArgs;
use crate::exit::Exit;

/// Path of explanations in the agent's API.
pub const PATH: &str = "/v1/explain";
/// Width of lines in columns if stdout is not a terminal.
const DEFAULT_WIDTH: usize = 110;

/// Runs `portolan explain`.
pub async fn explain(args: &ExplainArgs, console: &mut Console<'_>) -> Exit {
    let target = match Target::parse(&args.target, args.namespace.as_deref()) {
        Ok(target) => target,
        Err(error) => return end(Err(QueryError::BadTarget(error)), console),
    };
    let result = ask(args, &target, console).await;
    end(result, console)
}

async fn ask(args: &ExplainArgs, target: &Target, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.server.agent.server)?;
    let question = url::with_query(PATH, &[("target", target.to_string())]);
    let answer: Value = request::get(&server, &question).await.map_err(target_error)?;
    let text = show::explanation(&answer, args.server.output, width());
    console.write(&formatted(&server, PATH, text)?)?;
    let reasons = answer.get("partial").and_then(Value::as_array).into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    for reason in &reasons {
        console.message(&format!("the answer is partial: {}", portolan_report::escape::terminal(reason)))?;
    }
    let exit = report_readiness(is_unready(&server).await, console)?;
    Ok(if reasons.is_empty() { exit } else { Exit::Partial })
}

/// Converts the agent's refusal of a target into an error without server and path: the target is unknown, or ambiguous.
///
/// An older agent also answers 404 for a path that it does not know; the pointer to the parameter distinguishes the two.
#[must_use]
pub fn target_error(error: QueryError) -> QueryError {
    let QueryError::Refused { status, detail, .. } = &error else { return error };
    match (status, detail.strip_prefix("query/target: ")) {
        (404, Some(detail)) => QueryError::NoTarget { detail: detail.to_owned() },
        (409, Some(detail)) => QueryError::SeveralTargets { detail: detail.to_owned() },
        _ => error,
    }
}

/// Returns the number of columns of the terminal, or 110 if stdout is not a terminal.
#[must_use]
pub fn width() -> usize {
    let columns = terminal_size_of(io::stdout()).map(|(Width(columns), _)| usize::from(columns));
    columns.filter(|columns| *columns > 0).unwrap_or(DEFAULT_WIDTH)
}
