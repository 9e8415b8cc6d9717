//! What `--watch` asks one agent: its list, then every change.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::cluster::follow::agent_task::{self, Dialogue};
use crate::query::error::QueryError;
use crate::query::follow::{Follower, Gap, News, Topic};
use crate::query::outcome::is_unready;
use crate::query::server::Server;

/// What the task of an agent reports.
pub(super) type Message = agent_task::Message<Told>;

/// What an agent tells.
#[derive(Debug)]
pub(super) enum Told {
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
}

/// The list of one agent, then its changes.
pub(super) struct Listing {
    follower: Follower,
    /// How long the agent may take to say whether it is ready.
    time_limit: Duration,
}

impl Listing {
    /// Creates the dialogue with an agent.
    pub(super) fn new(server: Server, topic: Topic, time_limit: Duration) -> Self {
        Self { follower: Follower::new(server, topic), time_limit }
    }
}

impl Dialogue for Listing {
    type Told = Told;
    const ATTEMPTS: u32 = 1;

    fn is_live(&self) -> bool {
        self.follower.is_live()
    }

    async fn step(&mut self) -> Result<Option<Told>, QueryError> {
        Ok(Some(match self.follower.next().await? {
            News::Opened if self.follower.is_live() => Told::Resumed,
            News::Opened => Told::Listing,
            News::Item(item) => Told::Item(item),
            News::Listed { .. } => {
                let answer = timeout(self.time_limit, is_unready(self.follower.server())).await;
                Told::Listed { is_unready: answer.unwrap_or_default() }
            }
            News::Change { item, .. } => Told::Change(item),
            News::Gap(gap) => Told::Gap(gap),
        }))
    }

    fn disconnect(&mut self) {
        self.follower.disconnect();
    }

    fn stream(&self) -> (&Server, &str) {
        (self.follower.server(), self.follower.path())
    }
}
