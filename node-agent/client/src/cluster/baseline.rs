//! `kubectl portolan baseline`: the open findings of all nodes as one file of exception rules.

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Fleet, Question};
use super::verb_args::BaselineArgs;
use crate::exit::Exit;
use crate::query::baseline::Rules;
use crate::query::console::Console;
use crate::query::filters::Scope;
use crate::query::show::Subject;

/// Prints the rules.
pub(super) async fn baseline(
    cluster: &ClusterArgs,
    args: &BaselineArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    if let Err(problem) = args.rules.check() {
        console.message(&problem)?;
        return Ok(Exit::WrongUse);
    }
    let question = Question::List(Subject::Findings.path(), args.rules.pairs());
    let answers = Fleet::find(cluster).await?.ask(&question).await?;
    if answers.nodes.is_empty() {
        // Where no agent answered, nothing is known. An empty list of rules would look like "no findings".
        answers.report_missing(console)?;
        return Ok(Exit::Partial);
    }
    let rules = Rules::of(&answers.items);
    rules.print(&args.rules, Scope::AllNodes, console)?;
    let is_missing = answers.report_missing(console)?;
    Ok(if is_missing || rules.is_partial() { Exit::Partial } else { Exit::Fine })
}
