//! `images`: which ports the containers of an image open, by which process, and whether anybody calls them.

pub mod args;
pub(crate) mod bill;
pub(crate) mod inventory;
pub(crate) mod output;
#[cfg(test)]
mod tests;

use portolan_report::wire::Listener;
use serde_json::{Map, Value};

use super::console::Console;
use super::error::QueryError;
use super::filters::{Pairs, Scope};
use super::outcome::{end, is_unready, not_understood, report_completeness};
use super::pages;
use super::server::Server;
use super::show::{self, Subject};
use crate::exit::Exit;
use args::{ImagesArgs, ImagesFormat, NodeImagesArgs};

/// Runs `portolan images`.
pub async fn run(args: &NodeImagesArgs, console: &mut Console<'_>) -> Exit {
    let result = of_one_agent(args, console).await;
    end(result, console)
}

async fn of_one_agent(args: &NodeImagesArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.agent.server)?;
    let path = Subject::Listeners.path();
    let list = pages::gather(&server, path, &filters(&args.images)).await?;
    let listeners = show::typed(Subject::Listeners, &list.items)
        .map_err(|error| not_understood(&server, path, &error))?;
    let is_unready = list.broken.is_none() && is_unready(&server).await;
    let answer = Answer {
        listeners,
        scope: Scope::OneNode,
        has_answer: true,
        is_partial: list.broken.is_some() || is_unready,
        fields: Map::new(),
    };
    write(&args.images, &answer, console)?;
    report_completeness(&list, is_unready, console)
}

/// Returns the filters of the listeners that are asked for.
pub(crate) fn filters(args: &ImagesArgs) -> Pairs {
    if args.all { args.filter.pairs() } else { args.filter.open_pairs() }
}

/// What one agent, or the agents of all nodes, answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Listeners of all containers.
    pub(crate) listeners: Vec<Listener>,
    /// Who was asked.
    pub(crate) scope: Scope,
    /// False if no agent answered, so that nothing is known.
    pub(crate) has_answer: bool,
    /// True if listeners are missing, or may be.
    pub(crate) is_partial: bool,
    /// Fields that the JSON output has beside the images.
    pub(crate) fields: Map<String, Value>,
}

/// Writes the images, and says how many listeners have none.
///
/// # Errors
/// If the output cannot be written.
pub(crate) fn write(args: &ImagesArgs, answer: &Answer, console: &mut Console<'_>) -> Result<(), QueryError> {
    let images = inventory::of(&answer.listeners);
    match args.output {
        ImagesFormat::Json => {
            let mut object = output::object(&images);
            if let Some(object) = object.as_object_mut() {
                object.extend(answer.fields.clone());
            }
            console.write(&show::pretty(&object))?;
        }
        // An empty bill would say that no image opens a port.
        ImagesFormat::Cyclonedx if !answer.has_answer => {
            console.message("no bill of materials is written: no agent answered")?;
        }
        ImagesFormat::Cyclonedx => {
            console.write(&show::pretty(&bill::services(&images, answer.is_partial)))?;
        }
        ImagesFormat::Table if !images.is_empty() => console.write(&output::table(&images))?,
        ImagesFormat::Table if !answer.has_answer => {}
        ImagesFormat::Table => {
            console.message(&args.filter.nothing_found("port of a known image", false, answer.scope))?;
        }
    }
    let without_image = inventory::without_image(&answer.listeners);
    if without_image > 0 {
        let program = answer.scope.program();
        console.message(&format!(
            "{without_image} listeners are of no known container, and left out: `{program} listeners` has them"
        ))?;
    }
    Ok(())
}
