//! `kubectl portolan ui`: the web page of all nodes, on loopback. It follows the agents of all nodes, keeps what they tell, and
//! answers the page's requests from it, as an agent does for its node.

mod access;
mod agent;
mod browser;
mod chart;
mod events;
mod host;
mod lists;
mod node;
mod node_answer;
mod query;
mod remedies;
mod response;
mod routes;
mod server;
mod store;
mod stream;
mod view;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use portolan_report::escape::terminal;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Fleet, perhaps_older};
use super::follow::agent_task::What;
use super::follow::followed::Followed;
use super::follow::pods::{AgentLists, Found, list_again};
use super::interrupt::Interrupt;
use super::verb_args::UiArgs;
use crate::exit::Exit;
use crate::query::console::Console;
use access::Access;
use agent::{AgentDialogue, Message};
use host::Host;

/// Time between two events that tell which nodes are to be read anew.
const TELL_CHANGED: Duration = Duration::from_millis(500);

/// Serves the page until Ctrl-C.
pub(super) async fn ui(
    cluster: &ClusterArgs,
    args: &UiArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let view = view::query_of(args.query.as_deref().unwrap_or_default()).map_err(ClusterError::View)?;
    let mut interrupt = Interrupt::listen().map_err(ClusterError::Start)?;
    // What is wrong with the command line is said before the cluster is searched.
    let (listener, access) = bind(args.port).await?;
    let url = access.url(&view);
    let fleet = Fleet::find(cluster).await?;
    let epoch = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or_default();
    let host = Arc::new(Host::new(access, fleet.clone(), epoch));
    let (followed, messages) = Followed::start(&fleet, AgentDialogue::new);
    followed.let_go_on();
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve(listener, Arc::clone(&host)));
    say(&url, followed.len(), args.no_browser, console)?;
    let (to, found) = mpsc::channel(1);
    let hurry = Arc::new(Notify::new());
    tasks.spawn(list_again(fleet.clone(), cluster.clone(), Arc::clone(&hurry), to));
    let mut following = Following { host, fleet, followed, hurry, agent_lists: AgentLists::default() };
    tokio::select! {
        ended = following.run(messages, found, console) => ended?,
        ended = first_end(&mut tasks) => return Err(ended),
        () = interrupt.next() => {}
    }
    Ok(Exit::Fine)
}

/// Waits for the end of one of the tasks, none of which ends by itself.
async fn first_end(tasks: &mut JoinSet<()>) -> ClusterError {
    let reason = match tasks.join_next().await {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) | None => "one of its tasks ended".to_owned(),
    };
    ClusterError::PageEnded(reason)
}

/// Listens on loopback, and makes the key of the page.
async fn bind(port: u16) -> Result<(TcpListener, Access), ClusterError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = bound.map_err(|error| ClusterError::Page { port, reason: error.to_string() })?;
    let port = listener.local_addr().map_err(ClusterError::Start)?.port();
    let access = Access::new(port).map_err(|error| ClusterError::Start(error.into()))?;
    Ok((listener, access))
}

/// Prints the address to stdout, and what it is to stderr. Opens the browser.
fn say(url: &str, agents: usize, no_browser: bool, console: &mut Console<'_>) -> Result<(), ClusterError> {
    let agents = if agents == 1 { "1 agent".to_owned() } else { format!("{agents} agents") };
    console.message(&format!(
        "The page of {agents}, on 127.0.0.1 only. The key in this address opens it once, for one browser. Ctrl-C ends it."
    ))?;
    console.write(&format!("{url}\n"))?;
    if !no_browser && let Some(reason) = browser::open_url(url) {
        console.message(&format!("no browser was opened: {}", terminal(&reason)))?;
    }
    Ok(())
}

/// Says when the key was spent: another user of the machine could have seen it among the arguments of the browser.
fn say_opened(console: &mut Console<'_>) -> Result<(), ClusterError> {
    let now = Timestamp::now();
    let time = now.round(Unit::Second).unwrap_or(now);
    console.message(&format!(
        "the page was opened at {time}; if it was not you, end this command and start it again"
    ))?;
    Ok(())
}

/// The agents that are followed, and what is kept of them.
struct Following {
    host: Arc<Host>,
    /// The cluster, to make ways to agents.
    fleet: Fleet,
    followed: Followed<AgentDialogue>,
    /// Asks for a list of the agents' pods soon.
    hurry: Arc<Notify>,
    /// The lists of the agents' pods.
    agent_lists: AgentLists,
}

impl Following {
    /// Takes what the agents tell, without end.
    async fn run(
        &mut self,
        mut messages: mpsc::Receiver<Message>,
        mut found: mpsc::Receiver<Found>,
        console: &mut Console<'_>,
    ) -> Result<(), ClusterError> {
        let mut ticks = interval(TELL_CHANGED);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let host = Arc::clone(&self.host);
        loop {
            tokio::select! {
                () = host.access.opened() => say_opened(console)?,
                Some(message) = messages.recv() => self.take(message),
                Some(found) = found.recv() => self.take_found(found, console)?,
                _ = ticks.tick() => self.host.tell_changed(),
            }
        }
    }

    fn take(&mut self, Message { node, task, what }: Message) {
        // What an agent told before it was replaced is of no use.
        if !self.followed.is_of_task(&node, task) {
            return;
        }
        match what {
            What::Told(told) => {
                if self.followed.set_missing(&node, false) {
                    self.hurry.notify_one();
                }
                self.host.take(&node, told);
            }
            What::Broken(reason) => {
                self.followed.set_missing(&node, true);
                self.host.set_down(&node, &reason);
                self.hurry.notify_one();
            }
            What::Refused(error) => {
                self.followed.leave_out(&node);
                self.host.set_down(&node, &perhaps_older(&error));
            }
        }
    }

    /// Follows the agents that were listed.
    fn take_found(&mut self, found: Found, console: &mut Console<'_>) -> Result<(), ClusterError> {
        let agents = match found {
            Found::Pods(answers) => {
                self.host.set_pods(&answers);
                return Ok(());
            }
            Found::Agents(listed) => self.agent_lists.agents(listed, console)?,
        };
        let Some(agents) = agents else { return Ok(()) };
        let fleet = self.fleet.with(agents.clone());
        let changed: Vec<String> =
            self.followed.update(agents).into_iter().map(|change| change.node).collect();
        if !changed.is_empty() {
            self.hurry.notify_one();
        }
        self.host.set_fleet(fleet, &changed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_ends_the_command_with_the_reason() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending());
        tasks.spawn(async { panic!("a fault") });
        let ended = first_end(&mut tasks).await;
        assert!(ended.to_string().contains("a fault"), "{ended}");
        assert_eq!(ended.exit(), Exit::Partial);
    }
}
