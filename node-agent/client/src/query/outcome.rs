//! Ends a command: prints errors, says why an answer is incomplete, and chooses the exit code.

use super::console::Console;
use super::error::QueryError;
use super::pages::Gathered;
use super::request;
use super::server::Server;
use super::show::FormatError;
use crate::exit::Exit;

/// Prints the error, if there is one, and returns the exit code of the command.
pub(super) fn end(result: Result<Exit, QueryError>, console: &mut Console<'_>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Fine,
        Err(error) => {
            // If stderr is closed as well, there is nowhere left to report to.
            let _ = console.message(&error.to_string());
            error.exit()
        }
    }
}

/// Adds the server and the path to the error of an answer that cannot be formatted.
pub(super) fn formatted(
    server: &Server,
    path: &str,
    text: Result<String, FormatError>,
) -> Result<String, QueryError> {
    text.map_err(|error| not_understood(server, path, &error))
}

/// Returns the error of an answer that lacks something.
pub(super) fn not_understood(server: &Server, path: &str, error: &FormatError) -> QueryError {
    QueryError::NotUnderstood { server: server.to_string(), path: path.to_owned(), reason: error.to_string() }
}

/// Prints a message if a list is, or may be, incomplete. Returns the exit code that follows.
pub(super) async fn list_completeness(
    server: &Server,
    list: &Gathered,
    console: &mut Console<'_>,
) -> Result<Exit, QueryError> {
    let is_unready = list.broken.is_none() && is_unready(server).await;
    report_completeness(list, is_unready, console)
}

/// As [`list_completeness`], where it is known already whether the agent is ready.
pub(super) fn report_completeness(
    list: &Gathered,
    is_unready: bool,
    console: &mut Console<'_>,
) -> Result<Exit, QueryError> {
    if let Some(error) = &list.broken {
        console.message(&format!("the answer is partial: {error}"))?;
        return Ok(Exit::Partial);
    }
    report_readiness(is_unready, console)
}

/// Returns true if the agent answers that it is not ready yet. Other failures of the request do not count.
pub(crate) async fn is_unready(server: &Server) -> bool {
    matches!(request::get_bytes(server, "/readyz").await, Err(QueryError::Refused { status: 503, .. }))
}

/// Prints a message if the agent is not ready. Returns the exit code that follows.
pub(super) fn report_readiness(is_unready: bool, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    if !is_unready {
        return Ok(Exit::Fine);
    }
    console.message(
        "the answer may be partial: the agent is not ready; `portolan status` says what it waits for",
    )?;
    Ok(Exit::Partial)
}
