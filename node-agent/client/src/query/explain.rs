//! `portolan explain`: one question, whose answer is shown as a text, and what to say where there is none.

use std::io;

use portolan_engine::read::explain::target::Target;
use serde_json::Value;
use terminal_size::{Width, terminal_size_of};

use super::console::Console;
use super::error::QueryError;
use super::server::Server;
use super::{end, request, show, understood, url};
use crate::args::ExplainArgs;
use crate::exit::Exit;

/// Where it is asked.
pub const PATH: &str = "/v1/explain";
/// Line width where stdout is no terminal.
const WIDTH: usize = 110;

/// `portolan explain`.
pub async fn explain(args: &ExplainArgs, console: &mut Console<'_>) -> Exit {
    let target = match Target::parse(&args.target, args.namespace.as_deref()) {
        Ok(target) => target,
        Err(error) => return end(Err(QueryError::BadTarget(error)), console),
    };
    let result = ask(args, &target, console).await;
    end(result, console)
}

async fn ask(args: &ExplainArgs, target: &Target, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.server.server)?;
    let question = url::with_query(PATH, &[("target", target.to_string())]);
    let answer: Value = request::get(&server, &question).await.map_err(said_of_target)?;
    let text = show::explanation(&answer, args.server.output, width());
    console.write(&understood(&server, PATH, text)?)?;
    let reasons = answer.get("partial").and_then(Value::as_array).into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    for reason in &reasons {
        console.say(&format!("the answer is partial: {}", portolan_report::escape::terminal(reason)))?;
    }
    let is_unready =
        matches!(request::get_bytes(&server, "/readyz").await, Err(QueryError::Refused { status: 503, .. }));
    if is_unready {
        console.say(
            "the answer may be partial: the agent is not ready; `portolan status` says what it waits for",
        )?;
    }
    Ok(if reasons.is_empty() && !is_unready { Exit::Fine } else { Exit::Partial })
}

/// What an agent says of a target that it understood needs no frame: there is none, or there are several. Of a path that it
/// does not know, being older, it says 404 too.
#[must_use]
pub fn said_of_target(error: QueryError) -> QueryError {
    let QueryError::Refused { status, detail, .. } = &error else { return error };
    match (status, detail.strip_prefix("query/target: ")) {
        (404, Some(detail)) => QueryError::NoTarget { detail: detail.to_owned() },
        (409, Some(detail)) => QueryError::SeveralTargets { detail: detail.to_owned() },
        _ => error,
    }
}

/// Number of columns that a line of text may take: those of the terminal, else 110.
#[must_use]
pub fn width() -> usize {
    let columns = terminal_size_of(io::stdout()).map(|(Width(columns), _)| usize::from(columns));
    columns.filter(|columns| *columns > 0).unwrap_or(WIDTH)
}
