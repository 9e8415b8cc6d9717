//! Lists the agents' pods again and again, and with them all pods: an agent may come, go or be replaced.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::cluster::agents::{self, Agent};
use crate::cluster::args::ClusterArgs;
use crate::cluster::error::ClusterError;
use crate::cluster::fleet::{Answers, Fleet, Question};
use crate::query::console::Console;
use crate::query::pages::PODS;

/// Pause before the agents are listed, at the start and after a change or failure. Doubles with each list.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause between two lists.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Minimum time between two requests for all pods, per agent: each is a stream through the API server.
const PODS_PAUSE: Duration = Duration::from_millis(500);

/// What was found.
pub(in crate::cluster) enum Found {
    /// The agents, or why they cannot be listed.
    Agents(Result<Vec<Agent>, ClusterError>),
    /// The pods of all nodes that answered, at least of one: each is a `NodePod`.
    Pods(Answers),
}

/// Whether the agents' pods can be listed, as it was said last.
#[derive(Debug, Default)]
pub(in crate::cluster) struct AgentLists {
    is_away: bool,
}

impl AgentLists {
    /// Returns the agents that were listed. Says once that they cannot be listed, and once that they can be again.
    pub(in crate::cluster) fn agents(
        &mut self,
        listed: Result<Vec<Agent>, ClusterError>,
        console: &mut Console<'_>,
    ) -> Result<Option<Vec<Agent>>, ClusterError> {
        match listed {
            Ok(agents) => {
                if std::mem::take(&mut self.is_away) {
                    console.message("the agents' pods can be listed again")?;
                }
                Ok(Some(agents))
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    console.message(&format!("{error}; trying again"))?;
                }
                Ok(None)
            }
        }
    }
}

/// Lists the agents until the receiver is gone. `hurry` begins with short pauses again.
pub(in crate::cluster) async fn list_again(
    fleet: Fleet,
    args: ClusterArgs,
    hurry: Arc<Notify>,
    to: mpsc::Sender<Found>,
) {
    let mut pause = FIRST_PAUSE;
    let mut since_pods = Duration::ZERO;
    let mut is_away = false;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = hurry.notified() => {
                pause = FIRST_PAUSE;
                sleep(pause).await;
            }
        }
        since_pods += pause;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let listed = agents::list(&fleet.client(), &args).await;
        if listed.is_err() && !is_away {
            pause = FIRST_PAUSE;
        }
        is_away = listed.is_err();
        let agents = listed.as_ref().map(Clone::clone).unwrap_or_default();
        if to.send(Found::Agents(listed)).await.is_err() {
            return;
        }
        let count = u32::try_from(agents.len()).unwrap_or(u32::MAX);
        if count == 0 || since_pods < LONGEST_PAUSE.max(PODS_PAUSE.saturating_mul(count)) {
            continue;
        }
        since_pods = Duration::ZERO;
        if let Ok(answers) = fleet.with(agents).ask(&Question::List(PODS, Vec::new())).await
            && !answers.nodes.is_empty()
            && to.send(Found::Pods(answers)).await.is_err()
        {
            return;
        }
    }
}
