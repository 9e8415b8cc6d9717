//! `portolan policy`: asks the agent what a pod or workload declares, serves and is called by, and drafts a NetworkPolicy
//! of it.

pub mod draft;
pub mod object;
mod peers;
pub mod refusal;
mod remark;
mod selector;
mod target;
mod wanted_ports;

use serde::Serialize;

use super::console::Console;
use super::error::QueryError;
use super::server::Server;
use super::url::with_query;
use super::{end, request};
use crate::args::{ManifestFormat, PolicyArgs};
use crate::exit::Exit;
use draft::{Draft, draft};
use portolan_report::wire::PolicyBasis;
use refusal::Refusal;
use target::Target;

/// Runs the command.
pub async fn run(args: &PolicyArgs, console: &mut Console<'_>) -> Exit {
    let result = print(args, console).await;
    end(result, console)
}

async fn print(args: &PolicyArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.server)?;
    let target = Target::parse(&args.target, args.namespace.as_deref())?;
    let basis = match request::get::<PolicyBasis>(&server, &with_query("/v1/policy", &target.query())).await {
        Err(QueryError::Refused { status: 404, .. }) => {
            return Err(Refusal::NotHere { target: target.to_string(), server: server.to_string() }.into());
        }
        answer => answer?,
    };
    let ready = request::get_bytes(&server, "/readyz").await;
    let draft = draft(&basis, args.observed)?;
    write(&server, &draft, args.output, console)?;
    for warning in &draft.warnings {
        console.say(&format!("warning: {warning}"))?;
    }
    if matches!(ready, Err(QueryError::Refused { status: 503, .. })) {
        console.say(
            "the answer may be partial: the agent is not ready; `portolan status` says what it waits for",
        )?;
        return Ok(Exit::Partial);
    }
    Ok(if draft.is_partial { Exit::Partial } else { Exit::Fine })
}

fn write(
    server: &Server,
    draft: &Draft,
    format: ManifestFormat,
    console: &mut Console<'_>,
) -> Result<(), QueryError> {
    match format {
        ManifestFormat::Yaml => console.write(&yaml(draft).map_err(|reason| unwritable(server, reason))?),
        ManifestFormat::Json => {
            for remark in &draft.remarks {
                console.say(remark)?;
            }
            console.write(&json(&draft.policy).map_err(|reason| unwritable(server, reason))?)
        }
    }
}

/// The manifest with its remarks as comments: each remark is one line without anything that could end a comment.
///
/// # Errors
/// Why it cannot be written as YAML.
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
    QueryError::NotUnderstood { server: server.to_string(), path: "/v1/policy".to_owned(), reason }
}
