//! `kubectl portolan status`: one row per node, what is amiss first.

use portolan_report::amiss;
use portolan_report::escape::terminal;
use portolan_report::wire::AgentStatus;
use serde::Deserialize;

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Answers, Fleet, Question};
use super::verb_args::StatusArgs;
use crate::args::Format;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::show::{self, FormatError};
use crate::query::status::PATH;

/// Shows the status of all agents.
pub(super) async fn status(
    cluster: &ClusterArgs,
    args: &StatusArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let answers = Fleet::find(cluster).await?.ask(&Question::Object(PATH.to_owned())).await?;
    let text = text(&answers, args.output).map_err(ClusterError::NotUnderstood)?;
    console.write(&text)?;
    Ok(if answers.report_missing(console)? { Exit::Partial } else { Exit::Fine })
}

/// Parses the status objects.
pub(super) fn parsed(answers: &Answers) -> Result<Vec<AgentStatus>, FormatError> {
    let parse = |item| AgentStatus::deserialize(item).map_err(|error| FormatError::of("AgentStatus", &error));
    answers.items.iter().map(parse).collect()
}

fn text(answers: &Answers, output: Format) -> Result<String, FormatError> {
    match output {
        Format::Json => Ok(show::pretty(&answers.object())),
        Format::Yaml => show::yaml(&answers.object()),
        Format::Name => Ok(parsed(answers)?
            .iter()
            .map(|status| format!("agent/{}\n", terminal(&status.envelope.node)))
            .collect()),
        Format::Table | Format::Wide => {
            let missing: Vec<(String, String)> =
                answers.missing.iter().map(|one| (one.node.clone(), one.reason.clone())).collect();
            Ok(amiss::of_all(&parsed(answers)?, &missing))
        }
    }
}
