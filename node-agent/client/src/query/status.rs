//! `portolan status`: the state of the agent.

use serde_json::Value;

use super::console::Console;
use super::error::QueryError;
use super::outcome::{end, formatted};
use super::request;
use super::server::Server;
use super::show;
use crate::args::StatusArgs;
use crate::exit::Exit;

/// Path of the status in the agent's API.
pub(crate) const PATH: &str = "/v1/status";

/// Runs `portolan status`.
pub async fn status(args: &StatusArgs, console: &mut Console<'_>) -> Exit {
    let result = print(args, console).await;
    end(result, console)
}

async fn print(args: &StatusArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.server.agent.server)?;
    let status: Value = request::get(&server, PATH).await?;
    console.write(&formatted(&server, PATH, show::status(&status, args.server.output))?)?;
    Ok(Exit::Fine)
}
