//! `kubectl portolan declare`: drafts the missing port declarations from what the agents of all nodes know of the pods.

use portolan_report::policy_basis::PolicyBasis;

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Fleet, Question};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::declare::args::DraftArgs;
use crate::query::declare::{PATH, show};
use crate::query::error::QueryError;
use crate::query::policy::target::PolicyTarget;
use crate::query::url::with_query;

/// Asks all agents, and writes one patch for the pods of all nodes.
pub(super) async fn declare(
    cluster: &ClusterArgs,
    args: &DraftArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let target = PolicyTarget::parse(&args.target, args.namespace.as_deref()).map_err(QueryError::from)?;
    let question = Question::Object(with_query(PATH, &target.query()));
    let mut answers = Fleet::find(cluster).await?.ask(&question).await?;
    let items = std::mem::take(&mut answers.items).into_iter();
    let bases: Result<Vec<PolicyBasis>, _> = items.map(serde_json::from_value).collect();
    let bases = bases.map_err(|error| QueryError::NotUnderstood {
        server: "the agents".to_owned(),
        path: PATH.to_owned(),
        reason: error.to_string(),
    })?;
    if bases.is_empty() && answers.missing.is_empty() {
        let detail = format!("no agent knows a pod of {target}: no such target in this cluster");
        return Err(QueryError::NoTarget { detail }.into());
    }
    let is_partial = !bases.is_empty() && show(args, &bases, "the agents", console)?;
    let is_missing = answers.report_missing(console)?;
    Ok(if is_partial || is_missing { Exit::Partial } else { Exit::Fine })
}
