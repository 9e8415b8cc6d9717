//! The agent's main loop: takes facts, timers, HTTP queries and changes of state one at a time, and passes them to the
//! pipeline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan_engine::model::connection::ConnectionFact;
use portolan_engine::model::identity::{BootTime, NetnsId};
use portolan_engine::model::input::Input;
use portolan_engine::model::socket::OpenedSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::agent::heartbeat::Heartbeat;
use crate::agent::{allocator, program_pages};
use crate::pipeline::Pipeline;
use crate::sink::http::Health;
use crate::sink::http::query::{Query, answer};
use crate::source::clock;
use crate::source::netns::{NetnsHandle, Progress};
use crate::state::{Reporter, State, States};

/// Maximum number of facts applied between two looks at the other events.
const INPUT_BATCH: usize = 256;
/// Interval at which the kernel's counters are drained.
const DRAIN_EVERY: Duration = Duration::from_secs(1);
/// Drains between two updates of the metrics.
const MEASURE_EVERY: u32 = 5;
/// Drains between two writes of the state file.
const REMEMBER_EVERY: u32 = 10;
/// Drains between two returns of free memory to the kernel.
const GIVE_BACK_EVERY: u32 = 10;
/// Drains between two moments at which unused pages of the program leave the resident size.
const UNMAP_EVERY: u32 = 60;
/// Drain after which the pages of the start leave it.
const UNMAP_FIRST: u32 = 15;
/// Time after which the status says that requested scans wait.
const LONG_WAIT: Duration = Duration::from_secs(5);
/// Longest sleep where the engine has no timer.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// Time for the state file to be written at the end.
const LAST_STATE: Duration = Duration::from_secs(2);
/// Time for the last lines to reach stdout at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The pipeline and everything that feeds it.
pub struct EventLoop {
    pub pipeline: Pipeline,
    pub netns: NetnsHandle,
    /// Reports how the netns thread is doing.
    pub netns_state: Reporter,
    pub health: Arc<Health>,
    pub heartbeat: Heartbeat,
    pub facts: mpsc::Receiver<Input>,
    pub connections: mpsc::Receiver<Vec<ConnectionFact>>,
    pub queries: mpsc::Receiver<Query>,
    pub states: watch::Receiver<States>,
    pub upkeep: Upkeep,
}

/// State of the work that the loop does beside passing on facts.
#[derive(Default)]
pub struct Upkeep {
    /// The host's own netns.
    host: Option<NetnsId>,
    /// A socket without a known process opened in the host's netns since the last drain.
    unsure_of_host: bool,
    /// Ticket of the scan that restores lost facts.
    recovering: Option<u64>,
    drains: u32,
}

impl EventLoop {
    /// Runs until the netns thread ends.
    pub async fn run(&mut self) {
        let mut drain = interval(DRAIN_EVERY);
        drain.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = self.netns.progress();
        let mut batch = Vec::with_capacity(INPUT_BATCH);
        loop {
            self.heartbeat.beat();
            let deadline = self.until_deadline();
            tokio::select! {
                taken = self.facts.recv_many(&mut batch, INPUT_BATCH) => {
                    if taken == 0 { return }
                    for input in batch.drain(..) { self.take(input) }
                }
                Some(facts) = self.connections.recv() => self.take(Input::Connections(facts)),
                () = sleep(deadline) => self.pipeline.tick(),
                _ = drain.tick() => self.drain(),
                Some(query) = self.queries.recv() => answer(query, &self.pipeline),
                Ok(()) = self.states.changed() => self.check_ready(),
                changed = progress.changed() => {
                    let now = progress.borrow_and_update().clone();
                    self.scanned(&now);
                    if changed.is_err() {
                        self.netns_state.report(State::Down { reason: "its thread has ended".to_owned() });
                        return;
                    }
                }
            }
            self.pass_on_requests();
        }
    }

    /// Passes the requests of the engine on to the netns thread.
    fn pass_on_requests(&mut self) {
        let requests = self.pipeline.take_requests();
        requests.scan.into_iter().for_each(|netns| self.netns.scan(netns));
        requests.connections.into_iter().for_each(|netns| self.netns.list_connections(netns));
    }

    fn take(&mut self, input: Input) {
        match &input {
            Input::SocketOpened(socket) => self.follow_up(socket),
            Input::NetnsSeen { facts, .. } if facts.is_host => self.upkeep.host = Some(facts.netns),
            _ => {}
        }
        self.pipeline.count_event(&input);
        self.pipeline.apply(input);
    }

    /// Asks the netns thread for what a hook cannot see of an opened socket.
    fn follow_up(&mut self, socket: &OpenedSocket) {
        let netns = socket.port.netns;
        if !self.pipeline.engine.knows_netns(netns) {
            self.netns.discover(netns, socket.process.as_ref().map(|process| process.pid));
        }
        // The hooks cannot see IPV6_V6ONLY; the kernel's list of sockets has it.
        if socket.v6_only.is_none() && socket.address.is_ipv6() {
            self.netns.scan(netns);
        }
        // In the host's netns only the cgroup of the process identifies the pod. A server that forks into the background
        // ended before its cgroup could be read; the list of sockets names the process that holds the socket now.
        if self.upkeep.host == Some(netns)
            && socket.process.as_ref().is_none_or(|process| process.cgroup.is_none())
        {
            self.upkeep.unsure_of_host = true;
        }
    }

    fn drain(&mut self) {
        self.pipeline.end_minute();
        if self.pipeline.drain() {
            self.upkeep.recovering = Some(self.netns.scan_all());
        }
        if std::mem::take(&mut self.upkeep.unsure_of_host)
            && let Some(host) = self.upkeep.host
        {
            self.netns.scan(host);
        }
        self.report_netns_state();
        self.pipeline.emit_status();
        self.pipeline.settle_cluster_sinks();
        // Counting visits every port.
        self.upkeep.drains = self.upkeep.drains.wrapping_add(1);
        if self.upkeep.drains.is_multiple_of(MEASURE_EVERY) {
            self.pipeline.measure();
            self.pipeline.sample_minutes();
        }
        if self.upkeep.drains.is_multiple_of(REMEMBER_EVERY) {
            self.pipeline.remember_findings();
        }
        if self.upkeep.drains % UNMAP_EVERY == UNMAP_FIRST {
            program_pages::give_back();
        }
        if self.upkeep.drains.is_multiple_of(GIVE_BACK_EVERY) {
            allocator::give_back();
        }
    }

    /// Makes /readyz answer yes, for good, once the sources are ready.
    fn check_ready(&self) {
        let is_ready = self.states.borrow().is_ready();
        if is_ready && !self.health.ready.swap(true, Ordering::Relaxed) {
            tracing::info!(namespaces = self.netns.progress().borrow().netns, "observing");
        }
    }

    fn scanned(&mut self, progress: &Progress) {
        if progress.first_scan_done {
            self.netns_state.report(netns_state(progress, clock::now()));
        }
        if progress.is_observing() {
            self.netns_state.mark_ready();
        }
        if self.upkeep.recovering.is_some_and(|ticket| progress.scans_done >= ticket) {
            self.upkeep.recovering = None;
            self.pipeline.recovered();
        }
    }

    /// Reports what waits for the budget of requested scans, which no change of the progress tells.
    fn report_netns_state(&self) {
        let progress = self.netns.progress().borrow().clone();
        let waiting = i64::try_from(progress.waiting).unwrap_or(i64::MAX);
        self.pipeline.metrics.netns_scans_waiting.set(waiting);
        if progress.first_scan_done {
            self.netns_state.report(netns_state(&progress, clock::now()));
        }
    }

    fn until_deadline(&self) -> Duration {
        let deadline = self.pipeline.engine.next_deadline();
        deadline.map_or(LONGEST_SLEEP, |at| at.since(clock::now()).min(LONGEST_SLEEP))
    }

    /// Detaches the kernel programs, and writes the state file and the last lines.
    pub fn end(mut self) {
        self.facts.close();
        self.connections.close();
        self.netns.shutdown();
        self.pipeline.publish_last_losses();
        let Pipeline { publisher, kernel, engine, memory, .. } = self.pipeline;
        drop(kernel);
        if let Some(memory) = memory
            && !memory.finish(engine.findings_to_remember(), clock::now(), LAST_STATE)
        {
            tracing::warn!("the disk is slow: the last changes are not in the state file");
        }
        if !publisher.finish(LAST_LINES) {
            tracing::warn!("stdout is blocked: its last lines were dropped");
        }
    }
}

/// Returns the state of the netns source: down if a netns cannot be looked at, degraded if requested scans wait for long.
fn netns_state(progress: &Progress, now: BootTime) -> State {
    if progress.failure.is_some() {
        return State::up_unless(progress.failure.clone());
    }
    let waited = progress.waiting_since.map(|since| now.since(since));
    State::up_with(waited.filter(|waited| *waited >= LONG_WAIT).map(|_| {
        let count = progress.waiting;
        format!("{count} network namespaces wait for a scan: too many were requested at once, and they share a budget")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_long_is_said_and_a_failure_comes_first() {
        let now = BootTime(0).after(Duration::from_secs(60));
        let mut progress = Progress { waiting: 3, waiting_since: Some(now), ..Progress::default() };
        assert_eq!(netns_state(&progress, now), State::Up);
        let later = now.after(LONG_WAIT);
        let state = netns_state(&progress, later);
        assert!(
            state.is_up() && state.reason().is_some_and(|reason| reason.starts_with("3 network")),
            "{state:?}"
        );
        progress.failure = Some("denied".to_owned());
        assert_eq!(netns_state(&progress, later), State::Down { reason: "denied".to_owned() });
    }
}
