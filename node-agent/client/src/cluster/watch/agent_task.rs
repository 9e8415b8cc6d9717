//! Follows one agent in a task of its own, and reports what it says over a bounded channel. The channel's reader sets the pace.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::cluster::forward::Forward;
use crate::query::error::QueryError;
use crate::query::follow::{Backoff, Follower, Gap, News, Topic};
use crate::query::outcome::is_unready;
use crate::query::server::{Dial, Server};

/// Maximum delay between attempts to reach an agent.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What the task of an agent reports.
#[derive(Debug)]
pub(super) struct Message {
    /// Name of the node.
    pub(super) node: Arc<str>,
    /// Number of the task.
    pub(super) task: u64,
    /// What happened.
    pub(super) what: What,
}

/// What happened at an agent.
#[derive(Debug)]
pub(super) enum What {
    /// The list begins, perhaps anew: the objects of an earlier one that broke off come again.
    Listing,
    /// An object of the list.
    Item(Value),
    /// The list is complete. The agent may not know everything yet.
    Listed { is_unready: bool },
    /// The stream goes on where it broke off; no list follows.
    Resumed,
    /// An object that changed.
    Change(Value),
    /// Changes are missing. The list follows anew.
    Gap(Gap),
    /// The agent cannot be reached, or broke off; it is tried again. Sent once, until the agent is listed or resumed.
    Broken(String),
    /// The agent refuses what it is asked. The task has ended.
    Refused(QueryError),
}

/// The task of one agent.
pub(super) struct AgentTask {
    pub(super) node: Arc<str>,
    /// Number of the task.
    pub(super) number: u64,
    pub(super) forward: Arc<Forward>,
    /// How long the agent may take to answer.
    pub(super) time_limit: Duration,
    /// Agents that may be connected to and listed at the same time.
    pub(super) slots: Arc<Semaphore>,
    /// True once the first lists of all agents were shown. Changes come after them.
    pub(super) is_started: watch::Receiver<bool>,
    pub(super) to: mpsc::Sender<Message>,
}

/// The receiver of the messages is gone: nobody follows any more.
struct NobodyListens;

impl AgentTask {
    /// Follows the agent until it refuses, or the task is aborted.
    pub(super) async fn run(self, topic: Topic) {
        let dialer: Arc<dyn Dial> = Arc::clone(&self.forward) as _;
        // Only the receiver's end makes this an error.
        let _ = self.follow(Follower::new(Server::Through(dialer), topic)).await;
    }

    async fn follow(&self, mut follower: Follower) -> Result<(), NobodyListens> {
        let mut backoff = Backoff::new(LONGEST_DELAY);
        let mut is_broken = false;
        let mut slot = None;
        loop {
            let error = match self.next(&mut follower, &mut slot).await {
                Ok(news) => {
                    let what = what(news, &follower, self.time_limit).await;
                    let is_live = matches!(what, What::Listed { .. } | What::Resumed);
                    self.send(what).await?;
                    if is_live {
                        (is_broken, slot) = (false, None);
                        backoff.reset();
                        self.is_started.clone().wait_for(|is| *is).await.map_err(|_| NobodyListens)?;
                    }
                    continue;
                }
                Err(error) if error.is_refusal() => return self.send(What::Refused(error)).await,
                Err(error) => error,
            };
            slot = None;
            if !std::mem::replace(&mut is_broken, true) {
                let reason = self.forward.port_error().unwrap_or_else(|| error.reason());
                self.send(What::Broken(reason)).await?;
            }
            backoff.wait().await;
        }
    }

    /// Waits for the next piece of news. While it connects and lists, it takes a slot and has a time limit.
    async fn next(
        &self,
        follower: &mut Follower,
        slot: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<News, QueryError> {
        if follower.is_live() {
            *slot = None;
            return follower.next().await;
        }
        if slot.is_none() {
            // Acquiring cannot fail, because the semaphore is never closed.
            *slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        }
        let next = timeout(self.time_limit, follower.next()).await;
        next.unwrap_or_else(|_| {
            follower.disconnect();
            Err(QueryError::BrokenOff {
                server: follower.server().to_string(),
                path: follower.path().to_owned(),
                reason: format!("no answer within {} s", self.time_limit.as_secs()),
            })
        })
    }

    async fn send(&self, what: What) -> Result<(), NobodyListens> {
        let message = Message { node: Arc::clone(&self.node), task: self.number, what };
        self.to.send(message).await.map_err(|_| NobodyListens)
    }
}

/// Returns what a piece of news says.
async fn what(news: News, follower: &Follower, time_limit: Duration) -> What {
    match news {
        News::Opened if follower.is_live() => What::Resumed,
        News::Opened => What::Listing,
        News::Item(item) => What::Item(item),
        News::Listed { .. } => {
            let answer = timeout(time_limit, is_unready(follower.server())).await;
            What::Listed { is_unready: answer.unwrap_or_default() }
        }
        News::Change(item) => What::Change(item),
        News::Gap(gap) => What::Gap(gap),
    }
}
