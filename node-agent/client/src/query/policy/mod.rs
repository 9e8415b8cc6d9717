//! `portolan policy`: drafts a NetworkPolicy for a pod or workload.
//!
//! The draft is based on what the agent knows about declared ports, listeners and callers.

pub mod draft;
pub mod error;
pub mod object;
mod peers;
pub(crate) mod remark;
mod selector;
pub(crate) mod target;
mod wanted_ports;

use serde::Serialize;

use super::console::Console;
use super::error::QueryError;
use super::outcome::{end, is_unready, report_readiness};
use super::request;
use super::server::Server;
use super::url::with_query;
use crate::args::{ManifestFormat, PolicyArgs};
use crate::exit::Exit;
use draft::{Draft, draft};
use error::PolicyError;
use portolan_report::policy_basis::PolicyBasis;
use target::PolicyTarget;

/// Path of the facts in the agent's API, for drafts of policies and of declarations.
pub(crate) const PATH: &str = "/v1/policy";

/// Runs `portolan policy`.
pub async fn run(args: &PolicyArgs, console: &mut Console<'_>) -> Exit {
    let result = print(args, console).await;
    end(result, console)
}

async fn print(args: &PolicyArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.agent.server)?;
    let target = PolicyTarget::parse(&args.draft.target, args.draft.namespace.as_deref())?;
    let basis = basis(&server, &target).await?;
    let is_unready = is_unready(&server).await;
    let draft = draft(&basis, args.draft.observed)?;
    write(&draft, args.draft.output, console)?.map_err(|reason| unwritable(&server, reason))?;
    let exit = report_readiness(is_unready, console)?;
    Ok(if draft.is_partial { Exit::Partial } else { exit })
}

/// Asks an agent for the facts about the pods of a target.
pub(super) async fn basis(server: &Server, target: &PolicyTarget) -> Result<PolicyBasis, QueryError> {
    match request::get(server, &with_query(PATH, &target.query())).await {
        Err(QueryError::Refused { status: 404, .. }) => {
            Err(PolicyError::NotHere { target: target.to_string(), server: server.to_string() }.into())
        }
        answer => answer,
    }
}

/// Writes a draft and its warnings. The inner error is the serializer's message if the policy cannot be written.
pub(crate) fn write(
    draft: &Draft,
    format: ManifestFormat,
    console: &mut Console<'_>,
) -> Result<Result<(), String>, QueryError> {
    let text = match format {
        ManifestFormat::Yaml => yaml(draft),
        ManifestFormat::Json => json(&draft.policy),
    };
    let text = match text {
        Ok(text) => text,
        Err(reason) => return Ok(Err(reason)),
    };
    if format == ManifestFormat::Json {
        draft.remarks.iter().try_for_each(|remark| console.message(remark))?;
    }
    console.write(&text)?;
    draft.warnings.iter().try_for_each(|warning| console.message(&format!("warning: {warning}")))?;
    Ok(Ok(()))
}

/// Formats a draft as YAML, with its remarks as comments above. Remarks are escaped, so that none can end its comment.
///
/// # Errors
/// The serializer's message if the policy cannot be written as YAML.
pub fn yaml(draft: &Draft) -> Result<String, String> {
    let mut text = String::new();
    for remark in &draft.remarks {
        text.push_str(if remark.is_empty() { "#" } else { "# " });
        text.push_str(remark);
        text.push('\n');
    }
    let manifest = serde_saphyr::to_string(&draft.policy).map_err(|error| error.to_string())?;
    text.push_str(&manifest);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn json(policy: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(policy).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn unwritable(server: &Server, reason: String) -> QueryError {
    QueryError::NotUnderstood { server: server.to_string(), path: PATH.to_owned(), reason }
}
