//! `kubectl portolan images`: the ports that the containers of each image opened, on all nodes.

use serde_json::json;

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Fleet, Question};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::filters::Scope;
use crate::query::images::args::ImagesArgs;
use crate::query::images::{Answer, filters, write};
use crate::query::show::{self, Subject};

/// Shows the images of all nodes.
pub(super) async fn images(
    cluster: &ClusterArgs,
    args: &ImagesArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let question = Question::List(Subject::Listeners.path(), filters(args));
    let answers = Fleet::find(cluster).await?.ask(&question).await?;
    let listeners = show::typed(Subject::Listeners, &answers.items).map_err(ClusterError::NotUnderstood)?;
    let fields = [("nodes", json!(answers.nodes)), ("missing", answers.missing_nodes())];
    let answer = Answer {
        listeners,
        scope: Scope::AllNodes,
        has_answer: !answers.nodes.is_empty(),
        is_partial: !answers.missing.is_empty(),
        fields: fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
    };
    write(args, &answer, console)?;
    Ok(if answers.report_missing(console)? { Exit::Partial } else { Exit::Fine })
}
