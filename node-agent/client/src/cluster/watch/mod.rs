//! `kubectl portolan findings --watch`, `listeners --watch` and `connections --watch`: what is there on all nodes, then every
//! change. Each agent is followed by a stream of its own.

mod listing;
mod screen;
mod start;

use std::sync::Arc;

use portolan_report::escape::terminal;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::args::{ClusterArgs, FindingsArgs, ListArgs, ListenersArgs};
use super::error::ClusterError;
use super::fleet::{Fleet, NOT_READY, perhaps_older};
use super::follow::agent_task::What;
use super::follow::followed::{Followed, NodeChange};
use super::follow::pods::{AgentLists, Found, list_again};
use super::names::Names;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::error::QueryError;
use crate::query::follow::Topic;
use crate::query::show::Subject;
use listing::{Listing, Message, Told};
use screen::Screen;
use start::Start;

/// Shows the findings of all nodes, then every change.
pub(super) async fn findings(
    cluster: &ClusterArgs,
    args: &FindingsArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let Some(format) = args.output.of_lists() else { return Err(QueryError::NoStream.into()) };
    let mut watch_filters = args.findings.pairs();
    watch_filters.extend(args.filter.pairs());
    let mut list_filters = watch_filters.clone();
    let state = ("state", args.state.join(","));
    list_filters.push(state.clone());
    // --watch of open findings also shows when they are resolved.
    if args.state != ["open"] {
        watch_filters.push(state);
    }
    let topic = Topic { subject: Subject::Findings, list_filters, watch_filters };
    let screen = Screen::new(topic.subject, format, args.findings.fail_on);
    follow(cluster, topic, screen, console).await
}

/// Shows the listeners of all nodes, then every change.
///
/// # Errors
/// Beside those of the watch: if idle ports are asked for, which a change cannot show.
pub(super) async fn listeners(
    cluster: &ClusterArgs,
    args: &ListenersArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    if args.idle.period().is_some() {
        return Err(QueryError::NoIdleStream.into());
    }
    of_list(cluster, Subject::Listeners, &args.list, console).await
}

/// Shows the connections of all nodes that have a record of their own, then every change.
pub(super) async fn connections(
    cluster: &ClusterArgs,
    args: &ListArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    of_list(cluster, Subject::Connections, args, console).await
}

async fn of_list(
    cluster: &ClusterArgs,
    subject: Subject,
    args: &ListArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let watch_filters = args.filter.pairs();
    let list_filters =
        if subject == Subject::Listeners { args.filter.open_pairs() } else { watch_filters.clone() };
    let topic = Topic { subject, list_filters, watch_filters };
    follow(cluster, topic, Screen::new(subject, args.output, None), console).await
}

/// Follows all agents until a finding at or above `--fail-on` is shown, the reader closes the output, or without end.
async fn follow(
    cluster: &ClusterArgs,
    topic: Topic,
    screen: Screen,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let fleet = Fleet::find(cluster).await?;
    let (of_agent, time_limit) = (topic.clone(), fleet.time_limit());
    let (followed, mut messages) =
        Followed::start(&fleet, move |server| Listing::new(server, of_agent.clone(), time_limit));
    // The agents connect and list meanwhile.
    let names = Names::ask(&fleet).await;
    let mut watch =
        Watch { followed, names, screen, agent_lists: AgentLists::default(), hurry: Arc::default() };
    let mut start = Start::of(&watch.followed);
    while !start.is_over(&watch.followed) {
        let Some(message) = messages.recv().await else { break };
        start.take(message, &watch.names, (&mut watch.followed, &mut watch.screen), console)?;
        if let Some(exit) = watch.screen.end_early() {
            return Ok(exit);
        }
    }
    if let Some(exit) = start.show(&fleet, &topic, &mut watch.screen, console).await? {
        return Ok(exit);
    }
    watch.followed.let_go_on();
    let (to, mut found) = mpsc::channel(1);
    let mut listing = JoinSet::new();
    listing.spawn(list_again(fleet, cluster.clone(), Arc::clone(&watch.hurry), to));
    loop {
        let taken = tokio::select! {
            Some(message) = messages.recv() => watch.take(message, console),
            Some(found) = found.recv() => watch.take_found(found, console),
        };
        match taken {
            // The exit code of --fail-on holds even if nobody reads the messages.
            Err(error) if error.is_closed_pipe() => return Ok(watch.screen.end().unwrap_or(Exit::Fine)),
            taken => taken?,
        }
        if let Some(exit) = watch.screen.end() {
            return Ok(exit);
        }
    }
}

/// What is followed, and where it is shown.
struct Watch {
    followed: Followed<Listing>,
    names: Names,
    screen: Screen,
    /// The lists of the agents' pods.
    agent_lists: AgentLists,
    /// Asks for a list of the agents' pods soon: where one agent breaks off, comes or goes, others may, too.
    hurry: Arc<Notify>,
}

impl Watch {
    /// Shows what an agent reports.
    fn take(&mut self, message: Message, console: &mut Console<'_>) -> Result<(), ClusterError> {
        let Message { node, task, what } = message;
        if let What::Told(Told::Change(mut item)) = what {
            self.names.fill(&mut item);
            return self.screen.change(&item, console);
        }
        // A change was read, also if its agent was replaced since; the rest is about an agent that is followed no longer.
        if !self.followed.is_of_task(&node, task) {
            return Ok(());
        }
        match what {
            What::Told(Told::Change(_)) => {}
            What::Told(Told::Listing) => self.screen.forget(&node),
            What::Told(Told::Item(mut item)) => {
                self.names.fill(&mut item);
                self.screen.item(&node, item, console)?;
            }
            What::Told(Told::Listed { is_unready }) => {
                let said = self.say_listed(&node, is_unready, console);
                // Whether or not anybody reads the messages, the table decides --fail-on.
                self.screen.table_of(&node, console)?;
                said?;
            }
            What::Told(Told::Resumed) => self.say_back(&node, console)?,
            What::Told(Told::Gap(gap)) => {
                self.screen.forget(&node);
                console.message(&format!("{}: {gap}", terminal(&node)))?;
            }
            What::Broken(reason) => {
                self.screen.forget(&node);
                if !self.followed.set_missing(&node, true) {
                    console.message(&format!("{}: {}; trying again", terminal(&node), terminal(&reason)))?;
                }
                self.hurry.notify_one();
            }
            What::Refused(error) => {
                self.screen.forget(&node);
                self.followed.leave_out(&node);
                let reason = perhaps_older(&error);
                console.message(&format!("{}: {}; it is left out", terminal(&node), terminal(&reason)))?;
            }
        }
        Ok(())
    }

    /// Says what there is to say about a node that was listed.
    fn say_listed(
        &mut self,
        node: &str,
        is_unready: bool,
        console: &mut Console<'_>,
    ) -> Result<(), ClusterError> {
        self.say_back(node, console)?;
        if is_unready {
            console.message(&format!("{}: {NOT_READY}", terminal(node)))?;
        }
        Ok(())
    }

    /// Says that a node is back, if it was said to be missing.
    fn say_back(&mut self, node: &str, console: &mut Console<'_>) -> Result<(), ClusterError> {
        if self.followed.set_missing(node, false) {
            console.message(&format!("{}: its agent answers now", terminal(node)))?;
            self.hurry.notify_one();
        }
        Ok(())
    }

    /// Follows the agents that were listed.
    fn take_found(&mut self, found: Found, console: &mut Console<'_>) -> Result<(), ClusterError> {
        let agents = match found {
            Found::Pods(answers) => {
                self.names = Names::of(&answers.items);
                return Ok(());
            }
            Found::Agents(listed) => self.agent_lists.agents(listed, console)?,
        };
        let Some(agents) = agents else { return Ok(()) };
        let changes = self.followed.update(agents);
        // What the earlier agents of these nodes have listed so far is of no complete table any more.
        changes.iter().for_each(|change| self.screen.forget(&change.node));
        for NodeChange { node, what } in changes {
            self.hurry.notify_one();
            console.message(&format!("{}: {what}", terminal(&node)))?;
        }
        Ok(())
    }
}
