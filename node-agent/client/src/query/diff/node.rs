//! `portolan diff`: earlier findings against those of one agent, or against a file.

use std::collections::BTreeSet;

use serde_json::Value;

use super::args::NodeDiffArgs;
use super::snapshot::Snapshot;
use super::{answered, filters, show_changes, sides};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::error::QueryError;
use crate::query::outcome::{end, list_completeness};
use crate::query::pages;
use crate::query::request;
use crate::query::server::Server;
use crate::query::show::Subject;
use crate::query::status;

/// Runs `portolan diff`.
pub async fn run(args: &NodeDiffArgs, console: &mut Console<'_>) -> Exit {
    let result = compare(args, console).await;
    end(result, console)
}

async fn compare(args: &NodeDiffArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let (old, new) = sides(&args.diff)?;
    let new = match new {
        Some(new) => new,
        None => now(args, &old, console).await?,
    };
    show_changes(&old, &new, args.diff.output, console)
}

/// Asks the agent. It sees one node: about the others of the old findings nothing is known.
async fn now(args: &NodeDiffArgs, old: &Snapshot, console: &mut Console<'_>) -> Result<Snapshot, QueryError> {
    let server = Server::parse(&args.agent.server)?;
    let namespace = args.diff.namespace.as_deref();
    let own: Value = request::get(&server, status::PATH).await?;
    let own = own.get("node").and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = pages::gather(&server, Subject::Findings.path(), &filters(namespace)).await?;
    let mut missing: BTreeSet<String> = old.nodes().filter(|node| **node != own).cloned().collect();
    if list_completeness(&server, &list, console).await? != Exit::Fine {
        missing.insert(own);
    }
    answered(&list.items, missing, namespace, &server.to_string())
}
