//! Follows the container runtime: connects, polls, sends changed pods to the engine, waits for an event or the next second,
//! and reconnects when the runtime goes away.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use portolan_engine::model::input::Input;
use portolan_engine::model::pod::Pod;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::SOURCE;
use super::client::{CriError, Runtime};
use super::pod_tracker::{Pass, PodTracker};
use super::probe::{Session, open};
use crate::state::{Reporter, State};

/// Interval between polls without events.
const POLL: Duration = Duration::from_secs(1);
/// Interval between polls while events trigger polls as well.
const RARELY: Duration = Duration::from_secs(10);
/// Wait after the first event of a burst, so that one poll covers the burst.
const SETTLE: Duration = Duration::from_millis(100);
/// Number of changes without an event after which events are no longer used.
const MISSES: u32 = 3;
/// Wait after the first failure; doubled after each further failure.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Passes of a scan without a further pod after which the scan ends.
const IN_VAIN: u32 = 3;

/// Sends the pods of the runtime at `socket` (`None`: the first default socket that answers) until the engine is gone. While
/// the runtime does not answer, the reported state has the reason, and the known pods stay.
pub async fn follow(socket: Option<PathBuf>, inputs: mpsc::Sender<Input>, reporter: Reporter) {
    let mut follower = Follower { tracker: PodTracker::default(), inputs, reporter, wait: FIRST_WAIT };
    loop {
        let error = match open(socket.as_deref()).await {
            Ok(session) => match follower.poll(&session).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        follower.reporter.report(State::Down { reason: error.to_string() });
        let wait = follower.wait;
        follower.wait = (wait * 2).min(LONGEST_WAIT);
        tokio::select! {
            () = sleep(wait) => {}
            () = follower.inputs.closed() => return,
        }
    }
}

/// Reads the current pods once.
///
/// # Errors
/// When no runtime answers.
pub async fn read(socket: Option<PathBuf>) -> Result<Vec<Pod>, CriError> {
    let session = open(socket.as_deref()).await?;
    let mut tracker = PodTracker::default();
    // A pod that is sent again replaces what was sent before.
    let mut pods = BTreeMap::new();
    let mut in_vain = 0;
    loop {
        let pass = tracker.pass(&session.runtime).await?;
        in_vain += u32::from(pass.pods.is_empty());
        pods.extend(pass.pods.into_iter().map(|pod| (pod.uid.clone(), pod)));
        if !pass.more && !pass.waits || in_vain > IN_VAIN {
            return Ok(pods.into_values().collect());
        }
    }
}

struct Follower {
    tracker: PodTracker,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
    wait: Duration,
}

impl Follower {
    /// Polls until the runtime fails; `Ok` when the engine is gone.
    async fn poll(&mut self, session: &Session) -> Result<(), CriError> {
        self.tracker.resend_all();
        let mut events = session.events_are_ours().then(|| Events::of(session.runtime.clone()));
        let mut missed = 0;
        let mut woken = true;
        loop {
            let pass = self.tracker.pass(&session.runtime).await?;
            let (more, differs) = (pass.more, pass.differs);
            if !self.send(pass).await {
                return Ok(());
            }
            self.wait = FIRST_WAIT;
            self.reporter.report(State::Up);
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

    /// Sends the result of a pass; false when the engine is gone.
    async fn send(&self, pass: Pass) -> bool {
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
}

/// The runtime's events, used as hints to poll. Trusted only after the first event, since a runtime without events and a
/// runtime to which nothing happens look the same until then.
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
                    // One pending hint is enough.
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

/// Waits for the next hint; `None` after the last one. Never returns without an event stream.
async fn next(events: &mut Option<Events>) -> Option<()> {
    let Some(events) = events else { return std::future::pending().await };
    let hint = events.hints.recv().await;
    events.proven |= hint.is_some();
    hint
}
