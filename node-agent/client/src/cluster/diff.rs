//! `kubectl portolan diff`: earlier findings against those of all nodes, or against a file.

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Fleet, Question};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::diff::args::DiffArgs;
use crate::query::diff::file::{are_both_stdin, read};
use crate::query::diff::show_changes;
use crate::query::diff::snapshot::Snapshot;
use crate::query::error::QueryError;
use crate::query::show::Subject;

/// Shows what changed since the old findings. Two files need no cluster.
pub(super) async fn diff(
    cluster: &ClusterArgs,
    args: &DiffArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let namespace = args.namespace.as_deref();
    if are_both_stdin(&args.old, args.new.as_deref()) {
        let reason = "it is OLD and NEW: stdin can be one side only".to_owned();
        return Err(QueryError::BadFile { path: "stdin".to_owned(), reason }.into());
    }
    let old = read(&args.old, namespace)?;
    let new = match &args.new {
        Some(path) => read(path, namespace)?,
        None => now(cluster, namespace, console).await?,
    };
    Ok(show_changes(&old, &new, args.output, console)?)
}

/// Asks all agents for their findings.
async fn now(
    cluster: &ClusterArgs,
    namespace: Option<&str>,
    console: &mut Console<'_>,
) -> Result<Snapshot, ClusterError> {
    let mut filters = vec![("state", "open,suppressed".to_owned())];
    filters.extend(namespace.map(|name| ("namespace", name.to_owned())));
    let question = Question::List(Subject::Findings.path(), filters);
    let answers = Fleet::find(cluster).await?.ask(&question).await?;
    answers.report_missing(console)?;
    let missing = answers.missing.iter().map(|missing| missing.node.clone()).collect();
    let new =
        Snapshot::of(&answers.items, missing, namespace).map_err(|error| QueryError::NotUnderstood {
            server: "the agents".to_owned(),
            path: Subject::Findings.path().to_owned(),
            reason: error.to_string(),
        })?;
    Ok(new)
}
