//! What the tasks of agents, and the requests of browsers, share: the store, the events, and the ways to the agents.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::access::Access;
use super::agent::Told;
use super::events::{Events, Kind};
use super::node::Node;
use super::store::Store;
use crate::cluster::fleet::{Answers, Fleet};

/// Maximum number of followers of `/v1/watch`. The tabs of a browser share one.
const MAX_SUBSCRIBERS: usize = 16;

/// What is shared.
pub(super) struct Host {
    pub(super) access: Access,
    shared: Mutex<Shared>,
    /// Number of the next event.
    grown: watch::Sender<u64>,
    /// Followers that there may be beside those that there are.
    pub(super) subscribers: Arc<Semaphore>,
}

/// What changes.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) events: Events,
    /// The ways to the agents.
    pub(super) fleet: Fleet,
    /// Nodes whose rows changed as a whole, and whose followers are not told yet.
    changed: BTreeSet<String>,
}

impl Host {
    /// Shares these agents. `epoch` tells the events of this run from those of others.
    pub(super) fn new(access: Access, fleet: Fleet, epoch: u64) -> Self {
        let mut store = Store::default();
        for agent in fleet.agents() {
            store.insert(&agent.node, Node::new(&agent.node, agent.obstacle.clone()));
        }
        let shared = Shared { store, events: Events::new(epoch), fleet, changed: BTreeSet::new() };
        Self {
            access,
            shared: Mutex::new(shared),
            grown: watch::Sender::new(0),
            subscribers: Arc::new(Semaphore::new(MAX_SUBSCRIBERS)),
        }
    }

    /// Returns what changes. It must not be held while something is awaited.
    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of the next event, and tells when it changes.
    pub(super) fn growth(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Takes what an agent tells, and passes on what changed.
    pub(super) fn take(&self, node: &str, told: Told) {
        self.update(node, |shared| match told {
            Told::Read { answer, findings, is_gap } => {
                let pods_changed = answer.pods.is_some();
                let Some(known) = shared.store.change(node) else { return };
                let has_other_rows = known.take(*answer);
                let counted = known.chart().into_iter().flat_map(|chart| &chart.rows);
                let counted =
                    counted.filter(|row| row.attempts > 0 || row.packets > 0 || row.connections > 0);
                let fingerprints = counted.map(|row| row.fingerprint.clone()).collect();
                shared.store.note_counts(fingerprints);
                if pods_changed {
                    shared.store.forget_pods();
                }
                if is_gap || has_other_rows {
                    shared.changed.insert(node.to_owned());
                }
                shared.push_findings(findings);
            }
            Told::Rows { fingerprints, chart, findings } => {
                let Some(known) = shared.store.change(node) else { return };
                known.take_rows(&fingerprints, *chart);
                shared.store.note_counts(fingerprints.into_iter().collect());
                shared.push_findings(findings);
            }
            Told::Traffic(counts) => {
                let Some(known) = shared.store.change(node) else { return };
                let counted = known.take_counts(counts);
                shared.store.note_counts(counted);
            }
            Told::Status(status, item) => {
                let Some(known) = shared.store.change(node) else { return };
                known.take_status(*status);
                shared.push(Kind::AgentStatus, &item);
            }
            Told::Loss(status, items) => {
                let Some(known) = shared.store.change(node) else { return };
                known.take_status(*status);
                items.iter().for_each(|item| shared.push(Kind::Loss, item));
            }
        });
    }

    /// Notes that the agent of a node does not answer, for this reason.
    pub(super) fn set_down(&self, node: &str, reason: &str) {
        self.update(node, |shared| {
            let Some(known) = shared.store.change(node) else { return };
            known.set_down(reason.to_owned());
            shared.changed.insert(node.to_owned());
        });
    }

    /// Takes a later list of agents. `changed` are the nodes whose agent came, went or was replaced.
    pub(super) fn set_fleet(&self, fleet: Fleet, changed: &[String]) {
        let agents = fleet.agents().to_vec();
        self.shared().fleet = fleet;
        for name in changed {
            let listed = agents.iter().find(|agent| agent.node == *name);
            self.update(name, |shared| {
                match listed {
                    None => shared.store.retain(|node| node != name),
                    Some(agent) => match (shared.store.change(name), agent.obstacle.clone()) {
                        (Some(known), Some(reason)) => known.set_down(reason),
                        (Some(known), None) => known.set_asking(),
                        (None, obstacle) => shared.store.insert(name, Node::new(name, obstacle)),
                    },
                }
                shared.changed.insert(name.clone());
            });
        }
    }

    /// Takes the pods of the nodes that told all of them.
    pub(super) fn set_pods(&self, answers: &Answers) {
        self.shared().store.take_pods(answers);
    }

    /// Tells the followers which nodes are to be read anew, if there are any.
    pub(super) fn tell_changed(&self) {
        let mut shared = self.shared();
        let nodes: Vec<String> = std::mem::take(&mut shared.changed).into_iter().collect();
        let data = match nodes.as_slice() {
            [] => return,
            [node] => json!({ "node": node }),
            nodes => json!({ "nodes": nodes }),
        };
        shared.push(Kind::Lost, &data);
        self.tell_growth(&shared);
    }

    /// Changes something, and passes on the summary of the node's agent if it changed.
    fn update(&self, node: &str, change: impl FnOnce(&mut Shared)) {
        let mut shared = self.shared();
        let before = shared.store.node(node).map(Node::summary);
        change(&mut shared);
        let after = shared.store.node(node).map(Node::summary);
        if before != after
            && let Some(summary) = after
        {
            shared.push(Kind::Agent, &summary);
        }
        self.tell_growth(&shared);
    }

    fn tell_growth(&self, shared: &Shared) {
        let next = shared.events.next();
        self.grown.send_if_modified(|known| std::mem::replace(known, next) != next);
    }
}

impl Shared {
    /// Passes on findings, with the names of callers of all nodes.
    fn push_findings(&mut self, findings: Vec<Value>) {
        let directory = self.store.directory();
        for mut finding in findings {
            directory.names.fill(&mut finding);
            self.push(Kind::Finding, &finding);
        }
    }

    fn push(&mut self, kind: Kind, object: &impl Serialize) {
        // None of these types can fail.
        let data = serde_json::to_vec(object).unwrap_or_default();
        self.events.push(kind, Bytes::from(data));
    }
}
