//! Keeps the engine in line with the runtime: connects, looks, tells what changed, waits for an event or the next second,
//! and starts over when the runtime goes away.

use std::path::PathBuf;
use std::time::Duration;

use portolan_engine::model::input::Input;
use portolan_engine::model::pod::Pod;
use tokio::sync::{mpsc, watch as state};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::SOURCE;
use super::client::{CriError, Runtime};
use super::probe::{Session, open};
use super::roster::{Pass, Roster};
use crate::source::pods::SourceState;

/// Between two looks where there are no events.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks where events tell when to look.
const RARELY: Duration = Duration::from_secs(10);
/// Events come in bursts: one look for all that come in this time.
const SETTLE: Duration = Duration::from_millis(100);
/// Changes that no event told after which events are not relied upon.
const MISSES: u32 = 3;
/// Wait after the first failure; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Looks of a scan that may end without a further pod.
const IN_VAIN: u32 = 3;

/// Tells the pods of the runtime at `socket` (`None`: the first of the usual places that answers) for as long as the engine
/// is there. While the runtime does not answer, `status` says why, and what was told last stays.
pub async fn follow(
    socket: Option<PathBuf>,
    inputs: mpsc::Sender<Input>,
    status: state::Sender<SourceState>,
) {
    let mut follower = Follower { roster: Roster::default(), inputs, status, wait: FIRST_WAIT };
    loop {
        let error = match open(socket.as_deref()).await {
            Ok(session) => match follower.stay(&session).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        follower.say(SourceState { up: false, reason: Some(error.to_string()) });
        let wait = follower.wait;
        follower.wait = (wait * 2).min(LONGEST_WAIT);
        tokio::select! {
            () = sleep(wait) => {}
            () = follower.inputs.closed() => return,
        }
    }
}

/// The pods that are there now.
///
/// # Errors
/// When no runtime answers.
pub async fn read(socket: Option<PathBuf>) -> Result<Vec<Pod>, CriError> {
    let session = open(socket.as_deref()).await?;
    let mut roster = Roster::default();
    let mut pods = Vec::new();
    let mut in_vain = 0;
    loop {
        let pass = roster.pass(&session.runtime).await?;
        in_vain += u32::from(pass.pods.is_empty());
        pods.extend(pass.pods);
        if !pass.more && !pass.waits || in_vain > IN_VAIN {
            return Ok(pods);
        }
    }
}

struct Follower {
    roster: Roster,
    inputs: mpsc::Sender<Input>,
    status: state::Sender<SourceState>,
    wait: Duration,
}

impl Follower {
    /// Looks again and again; `Ok` when the engine is gone.
    async fn stay(&mut self, session: &Session) -> Result<(), CriError> {
        self.roster.forget_told();
        let mut events = session.events_are_ours().then(|| Events::of(session.runtime.clone()));
        let mut missed = 0;
        let mut woken = true;
        loop {
            let pass = self.roster.pass(&session.runtime).await?;
            let (more, differs) = (pass.more, pass.differs);
            if !self.tell(pass).await {
                return Ok(());
            }
            self.wait = FIRST_WAIT;
            self.say(SourceState { up: true, reason: None });
            if more {
                continue;
            }
            let relied = events.as_ref().is_some_and(|events| events.proven);
            missed += u32::from(relied && differs && !woken);
            if missed >= MISSES {
                tracing::info!("the runtime's events are not complete; polling");
                (events, missed) = (None, 0);
            }
            let interval = if relied { RARELY } else { POLL };
            tokio::select! {
                event = next(&mut events) => match event {
                    Some(()) => {
                        woken = true;
                        sleep(SETTLE).await;
                    }
                    None => events = None,
                },
                () = sleep(interval) => woken = false,
                () = self.inputs.closed() => return Ok(()),
            }
        }
    }

    /// Tells what a pass found; false when nobody listens.
    async fn tell(&self, pass: Pass) -> bool {
        let mut inputs = Vec::new();
        if pass.first {
            inputs.push(Input::Pods { source: SOURCE, pods: pass.pods });
        } else {
            let gone = pass.gone.into_iter().map(|uid| Input::PodGone { source: SOURCE, uid });
            let changed = pass.pods.into_iter().map(Box::new);
            inputs.extend(gone.chain(changed.map(|pod| Input::PodChanged { source: SOURCE, pod })));
        }
        if let Some(complaint) = pass.complaint {
            tracing::warn!(count = pass.unreadable, "{complaint}; skipped");
        }
        let losses =
            [("cri-unreadable-metadata", pass.unreadable), ("cri-status-failed", pass.without_status)];
        let lost = losses.into_iter().filter(|(_, count)| *count > 0);
        inputs.extend(lost.map(|(reason, count)| Input::Lost { reason, count, recovered: false }));
        for input in inputs {
            if self.inputs.send(input).await.is_err() {
                return false;
            }
        }
        true
    }

    fn say(&self, new: SourceState) {
        new.tell(&self.status);
    }
}

/// The runtime's events, as mere hints to look. Relied upon once the first has come: a runtime that has none to tell and
/// one that tells none look the same until then.
struct Events {
    hints: mpsc::Receiver<()>,
    proven: bool,
    task: JoinHandle<()>,
}

impl Events {
    fn of(runtime: Runtime) -> Self {
        let (hint, hints) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut stream = match runtime.events().await {
                Ok(stream) => stream,
                Err(error) => return tracing::info!("{error}; polling"),
            };
            loop {
                match stream.message().await {
                    // A hint that waits already is enough.
                    Ok(Some(_)) => drop(hint.try_send(())),
                    Ok(None) => return,
                    Err(status) => return tracing::info!("events: {}; polling", status.code()),
                }
            }
        });
        Self { hints, proven: false, task }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The next hint; `None` when there will be no more. Never ends without events.
async fn next(events: &mut Option<Events>) -> Option<()> {
    let Some(events) = events else { return std::future::pending().await };
    let hint = events.hints.recv().await;
    events.proven |= hint.is_some();
    hint
}
