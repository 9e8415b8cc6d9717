//! The agents that are followed: one task per node, kept in step with the list of the agents' pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_report::escape::terminal;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::agent_task::{AgentTask, Dialogue, Message};
use crate::cluster::agents::Agent;
use crate::cluster::fleet::{Fleet, MAX_CONCURRENT};
use crate::query::server::{Dial, Server};

/// Messages of all agents that wait to be shown. When they are that many, the agents' streams wait.
const MAX_MESSAGES: usize = 64;

/// Begins the dialogue with an agent.
type Begin<D> = Box<dyn Fn(Server) -> D + Send>;

/// The followed agents. Their streams are closed on drop.
pub(in crate::cluster) struct Followed<D: Dialogue> {
    begin: Begin<D>,
    /// The cluster, to make port-forwards.
    fleet: Fleet,
    /// Agents by node.
    agents: BTreeMap<String, OneAgent>,
    tasks: JoinSet<()>,
    /// Number of the next task.
    next: u64,
    slots: Arc<Semaphore>,
    /// True once the first lists were shown.
    is_started: watch::Sender<bool>,
    to: mpsc::Sender<Message<D::Told>>,
}

/// The agent of one node.
struct OneAgent {
    agent: Agent,
    standing: Standing,
    /// True if the user was told that the node is missing, and not yet that it is back.
    is_missing: bool,
}

/// What happened to the agent of a node between two lists of the agents' pods.
pub(in crate::cluster) struct NodeChange {
    pub(in crate::cluster) node: String,
    /// What happened, safe for a terminal: a sentence that follows the name of the node.
    pub(in crate::cluster) what: String,
}

/// How an agent is followed.
enum Standing {
    /// By the task with this number.
    Followed(u64, AbortHandle),
    /// Not yet: its pod does not run.
    Waiting,
    /// No more: it refuses what it is asked.
    LeftOut,
}

impl<D: Dialogue> Followed<D> {
    /// Follows the agents of a cluster; `begin` begins the dialogue with one. Returns the receiver of what they report.
    pub(in crate::cluster) fn start(
        fleet: &Fleet,
        begin: impl Fn(Server) -> D + Send + 'static,
    ) -> (Self, mpsc::Receiver<Message<D::Told>>) {
        let (to, messages) = mpsc::channel(MAX_MESSAGES);
        let mut followed = Self {
            begin: Box::new(begin),
            fleet: fleet.clone(),
            agents: BTreeMap::new(),
            tasks: JoinSet::new(),
            next: 0,
            slots: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            is_started: watch::Sender::new(false),
            to,
        };
        for agent in fleet.agents() {
            followed.follow(agent.clone(), false);
        }
        (followed, messages)
    }

    /// Lets the agents go on from their first lists to the changes.
    pub(in crate::cluster) fn let_go_on(&self) {
        self.is_started.send_replace(true);
    }

    /// Returns the agents that cannot be followed yet: node and reason.
    pub(in crate::cluster) fn obstacles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.agents.iter().filter_map(|(node, one)| Some((node.as_str(), one.agent.obstacle.as_deref()?)))
    }

    /// Returns the number of nodes with an agent.
    pub(in crate::cluster) fn len(&self) -> usize {
        self.agents.len()
    }

    /// Returns true if the task of this number follows the node's agent.
    pub(in crate::cluster) fn is_of_task(&self, node: &str, task: u64) -> bool {
        let standing = self.agents.get(node).map(|one| &one.standing);
        matches!(standing, Some(Standing::Followed(number, _)) if *number == task)
    }

    /// Notes that the node is missing, and that the user is told. Returns true if the user was told before.
    pub(in crate::cluster) fn set_missing(&mut self, node: &str, is_missing: bool) -> bool {
        self.agents.get_mut(node).is_some_and(|one| std::mem::replace(&mut one.is_missing, is_missing))
    }

    /// Notes that the node's agent refused, and is not followed until its pod is replaced.
    pub(in crate::cluster) fn leave_out(&mut self, node: &str) {
        if let Some(one) = self.agents.get_mut(node) {
            one.standing = Standing::LeftOut;
        }
    }

    /// Follows the agents of a later list. Returns the nodes whose agent came, went or was replaced.
    pub(in crate::cluster) fn update(&mut self, listed: Vec<Agent>) -> Vec<NodeChange> {
        while self.tasks.try_join_next().is_some() {}
        let mut changes = Vec::new();
        self.agents.retain(|node, one| {
            let stays = listed.iter().any(|agent| agent.node == *node);
            if !stays {
                one.stop();
                let what = "its agent is gone, and followed no longer".to_owned();
                changes.push(NodeChange { node: node.clone(), what });
            }
            stays
        });
        for agent in listed {
            let before = self.agents.get(&agent.node);
            let Some(what) = before.map_or(Some("has an agent now".to_owned()), |one| one.change_to(&agent))
            else {
                continue;
            };
            changes.push(NodeChange { node: agent.node.clone(), what });
            let was_missing = self.set_missing(&agent.node, false);
            self.follow(agent, was_missing);
        }
        changes
    }

    /// Follows an agent in place of the earlier one of its node.
    fn follow(&mut self, agent: Agent, was_missing: bool) {
        let is_missing = was_missing || agent.obstacle.is_some();
        let standing = if agent.obstacle.is_some() { Standing::Waiting } else { self.spawn(&agent) };
        let one = OneAgent { agent, standing, is_missing };
        if let Some(before) = self.agents.insert(one.agent.node.clone(), one) {
            before.stop();
        }
    }

    fn spawn(&mut self, agent: &Agent) -> Standing {
        self.next += 1;
        let forward = Arc::new(self.fleet.forward(agent.clone()));
        let dialer: Arc<dyn Dial> = Arc::clone(&forward) as _;
        let dialogue = (self.begin)(Server::Through(dialer));
        let task = AgentTask {
            node: agent.node.as_str().into(),
            number: self.next,
            forward,
            time_limit: self.fleet.time_limit(),
            slots: Arc::clone(&self.slots),
            is_started: self.is_started.subscribe(),
            to: self.to.clone(),
        };
        Standing::Followed(self.next, self.tasks.spawn(task.run(dialogue)))
    }
}

impl OneAgent {
    fn stop(&self) {
        if let Standing::Followed(_, task) = &self.standing {
            task.abort();
        }
    }

    /// Returns what changed if this agent is to be followed as `listed` now; `None` if all stays as it is.
    fn change_to(&self, listed: &Agent) -> Option<String> {
        let is_same_pod = (&self.agent.namespace, &self.agent.pod) == (&listed.namespace, &listed.pod);
        match (&self.standing, waiting_for(listed)) {
            // A pod that is being deleted still answers for a while.
            (Standing::Followed(..), Some(_)) if !self.is_missing => None,
            (Standing::Waiting, Some(_)) => None,
            (Standing::LeftOut, _) | (Standing::Followed(..), None) if is_same_pod => None,
            (_, Some(waiting)) => Some(waiting),
            (Standing::Waiting, None) if is_same_pod => Some("its agent's pod runs now".to_owned()),
            (_, None) => Some(format!("its agent was replaced by {}: listing anew", terminal(&listed.pod))),
        }
    }
}

/// Says what an agent that cannot be followed yet waits for; `None` if it can be followed.
fn waiting_for(agent: &Agent) -> Option<String> {
    agent.obstacle.as_ref().map(|obstacle| format!("{}; waiting for it", terminal(obstacle)))
}
