//! `portolan declare`: drafts the missing port declarations of a pod or workload, as a patch that is ready to apply.

pub mod args;
mod containers;
pub mod draft;
pub mod error;
pub mod patch;
pub mod port_name;
mod remarks;
pub mod removal;
pub mod text;
mod used_ports;
mod workload;

use super::console::Console;
use super::error::QueryError;
use super::outcome::{end, is_unready, report_readiness};
use super::policy::target::PolicyTarget;
use super::policy::{self, PATH};
use super::server::Server;
use crate::exit::Exit;
use args::{DeclareArgs, DraftArgs};
use draft::draft;
use portolan_report::policy_basis::PolicyBasis;
use text::written;

/// Runs `portolan declare`.
pub async fn run(args: &DeclareArgs, console: &mut Console<'_>) -> Exit {
    let result = print(args, console).await;
    end(result, console)
}

async fn print(args: &DeclareArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.agent.server)?;
    let target = PolicyTarget::parse(&args.draft.target, args.draft.namespace.as_deref())?;
    let basis = policy::basis(&server, &target).await?;
    let is_unready = is_unready(&server).await;
    let is_partial = show(&args.draft, &[basis], &server.to_string(), console)?;
    let exit = report_readiness(is_unready, console)?;
    Ok(if is_partial { Exit::Partial } else { exit })
}

/// Writes the declarations that follow from the facts of one or more agents. Returns true if an agent left something out.
pub(crate) fn show(
    args: &DraftArgs,
    bases: &[PolicyBasis],
    server: &str,
    console: &mut Console<'_>,
) -> Result<bool, QueryError> {
    let draft = draft(bases, args.all, args.output)?;
    let written = written(&draft, args.output).map_err(|reason| QueryError::NotUnderstood {
        server: server.to_owned(),
        path: PATH.to_owned(),
        reason,
    })?;
    console.write(&written.text)?;
    for message in &written.messages {
        console.message(message)?;
    }
    for warning in draft.warnings.iter().filter(|_| written.messages.is_empty()) {
        console.message(&format!("warning: {warning}"))?;
    }
    Ok(draft.is_partial)
}
