//! The single owner of the engine: passes facts to the engine with the time, and carries out the changes on the sinks and
//! on the kernel side. Nothing here blocks, so a slow reader never stalls the collection.

pub mod finding_index;
mod loss_lines;
mod losses;
mod measure;
pub mod read_model;
mod status;
mod status_schedule;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_engine::Engine;
use portolan_engine::model::change::{Change, Loss};
use portolan_engine::model::connection::ConnectionFact;
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::identity::{BootTime, NetnsId};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::{Listener, ListenerState};
use portolan_report::wire::Report;
use tokio::sync::watch;

use crate::finding_memory::FindingMemory;
use crate::pipeline::finding_index::FindingIndex;
use crate::pipeline::loss_lines::LossLines;
use crate::pipeline::status_schedule::StatusSchedule;
use crate::sink::convert::{AgentIdentity, Converter, MAX_PEERS, Wall};
use crate::sink::kubernetes::ClusterSinks;
use crate::sink::metrics::{KindLabel, Metrics};
use crate::sink::stream::ended::{CLOSED, Ended, RESOLVED};
use crate::sink::stream::publish::Publisher;
use crate::source::annotation_lint::AnnotationLint;
use crate::source::clock;
use crate::source::kernel::KernelHooks;
use crate::state::States;

/// Maximum number of due engine timers handled in one step, which bounds the changes held in memory.
const TICK_PART: usize = 256;

/// Requests of the engine to the netns thread. Repeated ones count once, so that there are at most as many as netns.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NetnsRequests {
    /// Netns to scan.
    pub scan: BTreeSet<NetnsId>,
    /// Netns whose connections are to be listed.
    pub connections: BTreeSet<NetnsId>,
}

/// The engine, the kernel side, and the sinks.
pub struct Pipeline {
    pub engine: Engine,
    /// `None` with `--scan-only`.
    pub kernel: Option<KernelHooks>,
    pub publisher: Publisher,
    /// Writers of Reports and Events to the API server.
    pub cluster: ClusterSinks,
    /// `None` if findings are not kept over a restart.
    pub memory: Option<FindingMemory>,
    pub metrics: Arc<Metrics>,
    pub agent: AgentIdentity,
    pub kernel_release: String,
    /// State of every hook and source.
    states: watch::Receiver<States>,
    /// Totals of the kernel's loss counters that the engine knows, by reason.
    reported_losses: BTreeMap<&'static str, u64>,
    /// Listeners that closed lately, for requests by id or by state.
    closed: Ended<Listener>,
    /// Findings that were resolved lately.
    resolved: Ended<Finding>,
    status_schedule: StatusSchedule,
    /// Losses that wait for the end of a scan, by reason.
    unrecovered: BTreeMap<&'static str, u64>,
    loss_lines: LossLines,
    annotation_lint: AnnotationLint,
    /// Requests of the engine to the netns thread that nobody took yet.
    requests: NetnsRequests,
    /// Fingerprints and minutes of the findings.
    index: FindingIndex,
    /// When the agent started.
    started: BootTime,
    /// Generation of the engine at the last full count of ports and findings.
    measured: Option<u64>,
}

impl Pipeline {
    #[must_use]
    pub fn new(
        engine: Engine,
        kernel: Option<KernelHooks>,
        publisher: Publisher,
        metrics: Arc<Metrics>,
        agent: AgentIdentity,
        kernel_release: String,
        states: watch::Receiver<States>,
    ) -> Self {
        Self {
            engine,
            kernel,
            publisher,
            cluster: ClusterSinks::default(),
            memory: None,
            metrics,
            agent,
            kernel_release,
            states,
            reported_losses: BTreeMap::new(),
            closed: Ended::new(CLOSED),
            resolved: Ended::new(RESOLVED),
            status_schedule: StatusSchedule::default(),
            unrecovered: BTreeMap::new(),
            loss_lines: LossLines::default(),
            annotation_lint: AnnotationLint::default(),
            requests: NetnsRequests::default(),
            index: FindingIndex::default(),
            started: clock::now(),
            measured: None,
        }
    }

    /// Applies one fact to the engine and carries out the changes.
    pub fn apply(&mut self, input: Input) {
        for remark in self.annotation_lint.remarks(&input) {
            tracing::warn!("{remark}");
        }
        let now = clock::now();
        let changes = self.engine.apply(input, now);
        self.carry_out(&changes, now);
    }

    /// Runs the engine's due timers in steps of [`TICK_PART`] and carries out the changes of each step.
    pub fn tick(&mut self) {
        let now = clock::now();
        loop {
            let changes = self.engine.tick_some(TICK_PART, now);
            self.carry_out(&changes, now);
            if self.engine.next_deadline().is_none_or(|due| due > now) {
                return;
            }
        }
    }

    /// Applies the kernel's counters and reports lines that stdout lost. True if the kernel lost facts since the last drain
    /// that only a scan can restore.
    pub fn drain(&mut self) -> bool {
        let needs_scan = self.drain_kernel();
        let due = self.loss_lines.due(clock::now());
        self.publish_losses(due);
        let converter = self.converter();
        self.publisher.report_lost_lines(&converter);
        needs_scan
    }

    /// Publishes the losses that still wait for their line. Call it before the end.
    pub fn publish_last_losses(&mut self) {
        let rest = self.loss_lines.rest();
        self.publish_losses(rest);
    }

    fn publish_losses(&mut self, losses: Vec<Loss>) {
        if losses.is_empty() {
            return;
        }
        let converter = self.converter();
        for loss in losses {
            if let Some(report) = converter.change(&Change::Loss(loss)) {
                self.publisher.publish(&report, &converter);
            }
        }
    }

    fn drain_kernel(&mut self) -> bool {
        let Some(kernel) = &mut self.kernel else { return false };
        let drained = kernel.drain(clock::now());
        let lost = kernel.lost();
        self.apply(Input::Traffic(drained));
        let mut needs_scan = false;
        for (reason, total) in lost {
            let reported = self.reported_losses.entry(reason).or_default();
            let count = total.saturating_sub(*reported);
            *reported = total;
            if count > 0 {
                if is_mended_by_scan(reason) {
                    needs_scan = true;
                    *self.unrecovered.entry(reason).or_default() += count;
                }
                self.apply(Input::Lost { reason, count, recovered: false });
            }
        }
        needs_scan
    }

    /// Reports losses as recovered: the scan after them is done, and the engine knows the kernel's state again.
    pub fn recovered(&mut self) {
        for (reason, count) in std::mem::take(&mut self.unrecovered) {
            self.apply(Input::Lost { reason, count, recovered: true });
        }
    }

    /// Counts an event of the kernel, by kind.
    pub fn count_event(&self, input: &Input) {
        match input {
            Input::SocketOpened(_) => self.count_events("listener-opened", 1),
            Input::SocketClosed { .. } => self.count_events("listener-closed", 1),
            Input::Connections(facts) => {
                let opened = facts.iter().filter(|fact| matches!(fact, ConnectionFact::Opened(_))).count();
                self.count_events("connection-opened", opened);
                self.count_events("connection-closed", facts.len() - opened);
            }
            _ => {}
        }
    }

    fn count_events(&self, kind: &'static str, count: usize) {
        if count > 0 {
            self.metrics.kernel_events.get_or_create(&KindLabel { kind }).inc_by(count as u64);
        }
    }

    /// Counts the calls of ports with findings for the present minute. Call it every few seconds.
    pub fn sample_minutes(&mut self) {
        let now = clock::now();
        let minute = self.converter().wall.minute(now);
        self.index.sample(&self.engine, minute);
    }

    /// Counts the calls that the kernel reported before a minute was over for that minute. Call it before each drain.
    pub fn end_minute(&mut self) {
        let now = clock::now();
        let minute = self.converter().wall.minute(now);
        self.index.end_minute(&self.engine, minute);
    }

    /// Hands over to the state file what a later run should remember. Call it every few seconds.
    pub fn remember_findings(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.remember(self.engine.findings_to_remember(), clock::now());
        }
    }

    /// Returns a converter from engine types to wire types, with the time of now.
    #[must_use]
    pub fn converter(&self) -> Converter {
        let now = clock::now();
        Converter {
            agent: self.agent.clone(),
            wall: Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
            now,
        }
    }

    /// Updates the cluster sinks with the pods that the API server knows, and submits again the findings that the sinks had no
    /// room for. Call it about once a second.
    pub fn settle_cluster_sinks(&self) {
        let now = clock::now();
        self.cluster.settle(&|uid| self.engine.at_server(uid), now);
        for finding in self.cluster.wanted().iter().filter_map(|id| self.engine.finding(id)) {
            self.cluster.note(&finding, now);
        }
    }

    fn carry_out(&mut self, changes: &[Change], now: BootTime) {
        if changes.is_empty() {
            return;
        }
        let converter = self.converter();
        for change in changes {
            if let Change::Connection(connection) = change {
                self.publisher.gather(connection, &converter);
                continue;
            }
            if let Change::Loss(loss) = change {
                let due = self.loss_lines.offer(loss, now);
                self.publish_losses(due.into_iter().collect());
                continue;
            }
            match (change, &mut self.kernel) {
                (Change::Watch(port), Some(kernel)) => kernel.watch(*port),
                (Change::Unwatch(port), Some(kernel)) => kernel.unwatch(*port),
                (Change::Record { port, on }, Some(kernel)) => kernel.record(*port, *on),
                _ => {}
            }
            match change {
                Change::Scan(netns) => _ = self.requests.scan.insert(*netns),
                Change::ListConnections(netns) => _ = self.requests.connections.insert(*netns),
                _ => {}
            }
            self.remember(change);
            if let Change::Finding(finding) = change {
                self.measure_latency(finding, now);
                self.cluster.note(finding, now);
            }
            if let Some(mut report) = converter.change(change) {
                if let (Change::Finding(finding), Report::Finding(reported)) = (change, &mut report) {
                    let minute = converter.wall.minute(now);
                    reported.former_fingerprint =
                        self.index.note(finding, &reported.fingerprint, now, minute);
                }
                self.publisher.publish(&report, &converter);
            }
        }
        self.publisher.publish_gathered(&converter);
    }

    /// Takes the requests of the engine to the netns thread.
    #[must_use]
    pub fn take_requests(&mut self) -> NetnsRequests {
        std::mem::take(&mut self.requests)
    }

    /// Remembers objects that end, and forgets those that are open again.
    fn remember(&mut self, change: &Change) {
        match change {
            Change::Listener(listener) if listener.state == ListenerState::Closed => {
                self.closed.remember(&listener.id, Arc::clone(listener));
            }
            Change::Listener(listener) => self.closed.forget(&listener.id),
            Change::Finding(finding) if finding.state == FindingState::Resolved => {
                self.resolved.remember(&finding.id, Arc::new(as_reported(finding)));
            }
            Change::Finding(finding) => self.resolved.forget(&finding.id),
            _ => {}
        }
    }

    /// Observes the time from the socket's opening to the finding.
    fn measure_latency(&self, finding: &Finding, now: BootTime) {
        if finding.state == FindingState::Open
            && let Some(opened) = finding.opened_at
        {
            self.metrics.detection_latency.observe(now.since(opened).as_secs_f64());
        }
    }
}

/// Returns a finding without the peers that no report shows, so that a kept one is small.
fn as_reported(finding: &Finding) -> Finding {
    let mut kept = finding.clone();
    let traffic = &mut kept.traffic;
    traffic.peers.sort_by_key(|peer| Reverse((peer.bytes, peer.connections, peer.packets)));
    traffic.truncated |= traffic.peers.len() > MAX_PEERS;
    traffic.peers.truncate(MAX_PEERS);
    traffic.peers.shrink_to_fit();
    if let Some(listener) = &mut kept.listener {
        let traffic = &mut Arc::make_mut(listener).traffic;
        traffic.truncated |= !traffic.peers.is_empty();
        traffic.peers = Vec::new();
    }
    kept
}

/// True if a scan of all netns restores the facts that this loss took.
fn is_mended_by_scan(reason: &str) -> bool {
    matches!(reason, "listener-ring-full" | "listeners-map-full")
}
