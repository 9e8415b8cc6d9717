//! `kubectl portolan declare`: drafts the missing port declarations from what the agents of all nodes know of the pods.

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::Fleet;
use super::policy;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::declare::args::DraftArgs;
use crate::query::declare::show;
use crate::query::error::QueryError;
use crate::query::policy::target::PolicyTarget;

/// Asks all agents, and writes one patch for the pods of all nodes.
pub(super) async fn declare(
    cluster: &ClusterArgs,
    args: &DraftArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let target = PolicyTarget::parse(&args.target, args.namespace.as_deref()).map_err(QueryError::from)?;
    let (answers, bases) = policy::facts(&Fleet::find(cluster).await?, &target).await?;
    if bases.is_empty() && answers.missing.is_empty() {
        let detail = format!("no agent knows a pod of {target}: no such target in this cluster");
        return Err(QueryError::NoTarget { detail }.into());
    }
    let is_partial = !bases.is_empty() && show(args, &bases, "the agents", console)?;
    let is_missing = answers.report_missing(console)?;
    Ok(if is_partial || is_missing { Exit::Partial } else { Exit::Fine })
}
