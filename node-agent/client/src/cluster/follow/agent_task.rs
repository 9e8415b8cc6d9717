//! Follows one agent in a task of its own, and reports what it says over a bounded channel. The channel's reader sets the pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::cluster::forward::Forward;
use crate::query::error::QueryError;
use crate::query::follow::Backoff;
use crate::query::server::Server;

/// Maximum delay between attempts to reach an agent.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What one agent is asked, step by step, and what is told of its answers. Outlives the connections to the agent.
pub(in crate::cluster) trait Dialogue: Send + 'static {
    /// What is told of an answer.
    type Told: Send + 'static;
    /// Number of attempts that fail after the agent was live before the agent counts as broken. The first of them may be the end
    /// of a connection that was only closed on the way.
    const ATTEMPTS: u32;

    /// Returns true while only changes are awaited. Otherwise a step takes a slot, and has a time limit.
    fn is_live(&self) -> bool;

    /// Waits for the next answer. `None` if there is nothing to tell of it.
    ///
    /// # Errors
    /// If the agent cannot be reached, refuses, or breaks off. The next step connects again.
    fn step(&mut self) -> impl Future<Output = Result<Option<Self::Told>, QueryError>> + Send;

    /// Closes the connection, after a step that was given up.
    fn disconnect(&mut self);

    /// Returns the agent, and the path of the stream.
    fn stream(&self) -> (&Server, &str);
}

/// What the task of an agent reports.
#[derive(Debug)]
pub(in crate::cluster) struct Message<T> {
    /// Name of the node.
    pub(in crate::cluster) node: Arc<str>,
    /// Number of the task.
    pub(in crate::cluster) task: u64,
    /// What happened.
    pub(in crate::cluster) what: What<T>,
}

/// What happened at an agent.
#[derive(Debug)]
pub(in crate::cluster) enum What<T> {
    /// The agent answered.
    Told(T),
    /// The agent cannot be reached, or broke off; it is tried again. Sent once, until the agent is live.
    Broken(String),
    /// The agent refuses what it is asked. The task has ended.
    Refused(QueryError),
}

/// The task of one agent.
pub(super) struct AgentTask<T> {
    pub(super) node: Arc<str>,
    /// Number of the task.
    pub(super) number: u64,
    pub(super) forward: Arc<Forward>,
    /// How long the agent may take to answer.
    pub(super) time_limit: Duration,
    /// Agents that may be connected to and asked at the same time.
    pub(super) slots: Arc<Semaphore>,
    /// True once the first answers of all agents were shown. Changes come after them.
    pub(super) is_started: watch::Receiver<bool>,
    pub(super) to: mpsc::Sender<Message<T>>,
}

/// The receiver of the messages is gone: nobody follows any more.
struct NobodyListens;

impl<T: Send + 'static> AgentTask<T> {
    /// Follows the agent until it refuses, or the task is aborted.
    pub(super) async fn run(self, dialogue: impl Dialogue<Told = T>) {
        // Only the receiver's end makes this an error.
        let _ = self.follow(dialogue).await;
    }

    async fn follow<D: Dialogue<Told = T>>(&self, mut dialogue: D) -> Result<(), NobodyListens> {
        let mut backoff = Backoff::new(LONGEST_DELAY);
        // An agent that was never live is reported at its first failure.
        let mut failures = D::ATTEMPTS;
        let mut slot = None;
        loop {
            let was_live = dialogue.is_live();
            let error = match self.step(&mut dialogue, &mut slot).await {
                Ok(told) => {
                    let became_live = dialogue.is_live() && !was_live;
                    if let Some(told) = told {
                        self.send(What::Told(told)).await?;
                    }
                    if became_live {
                        (failures, slot) = (0, None);
                        backoff.reset();
                        self.is_started.clone().wait_for(|is| *is).await.map_err(|_| NobodyListens)?;
                    }
                    continue;
                }
                Err(error) if error.is_refusal() => return self.send(What::Refused(error)).await,
                Err(error) => error,
            };
            slot = None;
            if failures <= D::ATTEMPTS {
                failures += 1;
                if failures >= D::ATTEMPTS {
                    failures = D::ATTEMPTS + 1;
                    let reason = self.forward.port_error().unwrap_or_else(|| error.reason());
                    self.send(What::Broken(reason)).await?;
                }
            }
            backoff.wait().await;
        }
    }

    /// Waits for the next step. While it connects and asks, it takes a slot and has a time limit.
    async fn step<D: Dialogue<Told = T>>(
        &self,
        dialogue: &mut D,
        slot: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Option<T>, QueryError> {
        if dialogue.is_live() {
            *slot = None;
            return dialogue.step().await;
        }
        if slot.is_none() {
            // Acquiring cannot fail, because the semaphore is never closed.
            *slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        }
        let step = timeout(self.time_limit, dialogue.step()).await;
        step.unwrap_or_else(|_| {
            dialogue.disconnect();
            let (server, path) = dialogue.stream();
            Err(QueryError::BrokenOff {
                server: server.to_string(),
                path: path.to_owned(),
                reason: format!("no answer within {} s", self.time_limit.as_secs()),
            })
        })
    }

    async fn send(&self, what: What<T>) -> Result<(), NobodyListens> {
        let message = Message { node: Arc::clone(&self.node), task: self.number, what };
        self.to.send(message).await.map_err(|_| NobodyListens)
    }
}
