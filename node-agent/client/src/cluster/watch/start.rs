//! The start of a watch: what is there now of all nodes, in one table where a table is asked for, and which nodes are missing.

use std::collections::BTreeMap;

use super::listing::{Listing, Message, Told};
use super::screen::Screen;
use crate::cluster::error::ClusterError;
use crate::cluster::fleet::{AgentAnswer, AgentFailure, Fleet, NOT_READY, Question, merged};
use crate::cluster::follow::agent_task::What;
use crate::cluster::follow::followed::Followed;
use crate::cluster::names::Names;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::filters::{WhenEmpty, suppressed_only};
use crate::query::follow::Topic;
use crate::query::show::Subject;

/// The first answer of each agent, by node.
pub(super) struct Start {
    /// The objects are with the screen.
    answers: BTreeMap<String, AgentAnswer>,
}

impl Start {
    /// Awaits the first answer of each agent. Those that cannot be asked are missing already.
    pub(super) fn of(followed: &Followed<Listing>) -> Self {
        let obstacles = followed.obstacles();
        let missing =
            obstacles.map(|(node, reason)| (node.to_owned(), Err(AgentFailure::Node(reason.to_owned()))));
        Self { answers: missing.collect() }
    }

    /// Returns true if each agent has answered or failed.
    pub(super) fn is_over(&self, followed: &Followed<Listing>) -> bool {
        self.answers.len() >= followed.len()
    }

    /// Takes what an agent reports. Objects are shown at once, where no table is asked for.
    pub(super) fn take(
        &mut self,
        Message { node, what, .. }: Message,
        names: &Names,
        (followed, screen): (&mut Followed<Listing>, &mut Screen),
        console: &mut Console<'_>,
    ) -> Result<(), ClusterError> {
        let answer = match what {
            What::Told(Told::Item(mut item) | Told::Change(mut item)) => {
                names.fill(&mut item);
                return screen.item(&node, item, console);
            }
            What::Told(Told::Listing | Told::Gap(_)) => {
                screen.forget(&node);
                return Ok(());
            }
            What::Told(Told::Listed { is_unready }) => {
                followed.set_missing(&node, false);
                Ok((Vec::new(), is_unready.then(|| NOT_READY.to_owned())))
            }
            What::Told(Told::Resumed) => return Ok(()),
            What::Broken(reason) => {
                screen.forget(&node);
                followed.set_missing(&node, true);
                Err(AgentFailure::Node(reason))
            }
            What::Refused(error) => {
                screen.forget(&node);
                followed.leave_out(&node);
                Err(AgentFailure::QuestionOrVersion(error))
            }
        };
        self.answers.insert(node.to_string(), answer);
        Ok(())
    }

    /// Shows the first table, and names the nodes that are missing. Returns the exit code if no node answered, or nothing more is
    /// to be shown.
    ///
    /// # Errors
    /// If no agent accepted the question, or the output cannot be written.
    pub(super) async fn show(
        self,
        fleet: &Fleet,
        topic: &Topic,
        screen: &mut Screen,
        console: &mut Console<'_>,
    ) -> Result<Option<Exit>, ClusterError> {
        let mut answers = merged(self.answers.into_iter().collect())?;
        if screen.is_tabular() {
            let rows = answers.nodes.iter().filter_map(|node| screen.rows.remove(node));
            answers.items = rows.flatten().collect();
            let suppressed = if answers.items.is_empty() { suppressed(fleet, topic).await } else { 0 };
            // The filters of the stream are those that the user gave.
            let empty = WhenEmpty { is_narrowed: !topic.watch_filters.is_empty(), suppressed };
            screen.first_table(&answers, empty, console)?;
        }
        let is_partial = match answers.report_missing(console) {
            Err(error) if error.is_closed_pipe() => return Ok(Some(screen.end().unwrap_or(Exit::Fine))),
            reported => reported?,
        };
        let end = screen.end();
        if answers.nodes.is_empty() {
            // An object that reached --fail-on may have come before its agent broke off.
            return Ok(end.or(Some(Exit::Partial)));
        }
        if is_partial && end.is_none() {
            console.message("the other nodes are followed; one that is missing is shown when it answers")?;
        }
        Ok(end)
    }
}

/// Returns the number of suppressed findings, where only open ones were asked for.
async fn suppressed(fleet: &Fleet, topic: &Topic) -> usize {
    let is_of_open = topic.list_filters.iter().any(|(name, value)| *name == "state" && value == "open");
    if topic.subject != Subject::Findings || !is_of_open {
        return 0;
    }
    let question = Question::List(topic.subject.path(), suppressed_only(&topic.list_filters));
    fleet.ask(&question).await.map_or(0, |answers| answers.items.len())
}
