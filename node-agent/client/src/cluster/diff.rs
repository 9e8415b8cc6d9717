//! `kubectl portolan diff`: earlier findings against those of all nodes, or against a file.

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Fleet, Question};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::diff::args::DiffArgs;
use crate::query::diff::snapshot::Snapshot;
use crate::query::diff::{answered, filters, show_changes, sides};
use crate::query::show::Subject;

/// Shows what changed since the old findings. Two files need no cluster.
pub(super) async fn diff(
    cluster: &ClusterArgs,
    args: &DiffArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let (old, new) = sides(args)?;
    let new = match new {
        Some(new) => new,
        None => now(cluster, args.namespace.as_deref(), console).await?,
    };
    Ok(show_changes(&old, &new, args.output, console)?)
}

/// Asks all agents for their findings.
async fn now(
    cluster: &ClusterArgs,
    namespace: Option<&str>,
    console: &mut Console<'_>,
) -> Result<Snapshot, ClusterError> {
    let question = Question::List(Subject::Findings.path(), filters(namespace));
    let answers = Fleet::find(cluster).await?.ask(&question).await?;
    answers.report_missing(console)?;
    let missing = answers.missing.iter().map(|missing| missing.node.clone()).collect();
    Ok(answered(&answers.items, missing, namespace, "the agents")?)
}
