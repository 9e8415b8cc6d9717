//! `kubectl portolan images`: the ports that the containers of each image opened, on all nodes.

use serde_json::json;

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Fleet, Question};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::filters::Scope;
use crate::query::images::args::{ImagesArgs, ImagesFormat};
use crate::query::images::{bill, inventory, output};
use crate::query::show::{self, Subject};

/// Shows the images of all nodes.
pub(super) async fn images(
    cluster: &ClusterArgs,
    args: &ImagesArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let filters = if args.all { args.filter.pairs() } else { args.filter.open_pairs() };
    let question = Question::List(Subject::Listeners.path(), filters);
    let answers = Fleet::find(cluster).await?.ask(&question).await?;
    let listeners = show::typed(Subject::Listeners, &answers.items).map_err(ClusterError::NotUnderstood)?;
    let images = inventory::of(&listeners);
    match args.output {
        ImagesFormat::Json => {
            let mut object = output::object(&images);
            if let Some(object) = object.as_object_mut() {
                object.insert("nodes".to_owned(), json!(answers.nodes));
                object.insert("missing".to_owned(), answers.missing_nodes());
            }
            console.write(&show::pretty(&object))?;
        }
        // An empty bill would say that no image opens a port.
        ImagesFormat::Cyclonedx if answers.nodes.is_empty() => {
            console.message("no bill of materials is written: no agent answered")?;
        }
        ImagesFormat::Cyclonedx => {
            let is_partial = !answers.missing.is_empty();
            console.write(&show::pretty(&bill::services(&images, is_partial)))?;
        }
        ImagesFormat::Table if !images.is_empty() => console.write(&output::table(&images))?,
        ImagesFormat::Table if answers.nodes.is_empty() => {}
        ImagesFormat::Table => {
            console.message(&args.filter.nothing_found("port of a known image", false, Scope::AllNodes))?;
        }
    }
    let without_image = inventory::without_image(&listeners);
    if without_image > 0 {
        console.message(&format!(
            "{without_image} listeners are of no known container, and left out: `kubectl portolan listeners` has them"
        ))?;
    }
    Ok(if answers.report_missing(console)? { Exit::Partial } else { Exit::Fine })
}
