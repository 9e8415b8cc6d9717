//! The one owner of the engine: hands it facts with the time, and carries out the changes it answers with, on the sinks
//! and on the kernel side. It waits for nothing and nobody, so a slow reader never stalls the collection.

pub mod read_model;
mod status_log;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_engine::Engine;
use portolan_engine::model::change::Change;
use portolan_engine::model::connection::ConnectionFact;
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::{Listener, ListenerState};
use portolan_engine::read::counts::Counts;
use portolan_report::wire::{AgentStatus, HookStatus, Limit, SourceStatus};

use crate::pipeline::status_log::ToldStatus;
use crate::sink::convert::{Converter, Wall};
use crate::sink::kubernetes::ClusterSinks;
use crate::sink::kubernetes::events::Events;
use crate::sink::kubernetes::pending_writes::PendingWrites;
use crate::sink::kubernetes::reports::Reports;
use crate::sink::metrics::{
    ConnectionLabels, FindingLabels, KindLabel, ListenerLabels, MapLabel, Metrics, SourceLabel, StateLabel,
};
use crate::sink::stream::ended::Ended;
use crate::sink::stream::publish::Publisher;
use crate::sink::stream::stdout::{BLOCKED, CLOSED, FAILED, TOO_LONG};
use crate::source::annotation_lint::Spelling;
use crate::source::kernel::KernelHooks;
use crate::source::pods::SourceState;
use crate::source::{clock, conntrack};

/// Deadlines of the engine whose changes are in memory together.
const TICK_PART: usize = 256;

/// How a source is doing, as status tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStanding {
    pub since: BootTime,
    pub is_up: bool,
    /// Why not, or what is amiss all the same.
    pub reason: Option<String>,
}

/// Engine, kernel side and sinks.
pub struct Pipeline {
    pub engine: Engine,
    /// `None`: scan only.
    pub kernel: Option<KernelHooks>,
    pub publisher: Publisher,
    /// Objects at the API server that tell of findings.
    pub cluster: ClusterSinks,
    pub metrics: Arc<Metrics>,
    pub node: Arc<str>,
    pub kernel_release: String,
    pub sources: BTreeMap<String, SourceStanding>,
    /// Totals of the kernel's loss counters that were told to the engine.
    told: BTreeMap<&'static str, u64>,
    pub(crate) closed: Ended<Listener>,
    pub(crate) resolved: Ended<Finding>,
    pub(crate) told_status: ToldStatus,
    /// Losses whose scan is not done.
    unrecovered: BTreeMap<&'static str, u64>,
    spelling: Spelling,
    /// The engine's generation when ports and findings were counted last.
    measured: Option<u64>,
}

impl Pipeline {
    #[must_use]
    pub fn new(
        engine: Engine,
        kernel: Option<KernelHooks>,
        publisher: Publisher,
        metrics: Arc<Metrics>,
        node: Arc<str>,
        kernel_release: String,
    ) -> Self {
        Self {
            engine,
            kernel,
            publisher,
            cluster: ClusterSinks::default(),
            metrics,
            node,
            kernel_release,
            sources: BTreeMap::new(),
            told: BTreeMap::new(),
            closed: Ended::default(),
            resolved: Ended::default(),
            told_status: ToldStatus::default(),
            unrecovered: BTreeMap::new(),
            spelling: Spelling::default(),
            measured: None,
        }
    }

    /// One fact through the engine.
    pub fn apply(&mut self, input: Input) {
        for remark in self.spelling.remarks(&input) {
            tracing::warn!("{remark}");
        }
        let now = clock::now();
        let changes = self.engine.apply(input, now);
        self.carry_out(&changes, now);
    }

    /// The engine's timers, and part by part what they make it tell.
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

    /// Takes the kernel's counters in, and tells of lines that were lost. True if something was lost since the last drain
    /// that only a scan can mend.
    pub fn drain(&mut self) -> bool {
        let needs_scan = self.drain_kernel();
        let converter = self.converter();
        self.publisher.report_lost_lines(&converter);
        needs_scan
    }

    fn drain_kernel(&mut self) -> bool {
        let Some(kernel) = &mut self.kernel else { return false };
        let drained = kernel.drain(clock::now());
        let lost = kernel.lost();
        self.apply(Input::Traffic(drained));
        let mut needs_scan = false;
        for (reason, total) in lost {
            let told = self.told.entry(reason).or_default();
            let count = total.saturating_sub(*told);
            *told = total;
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

    /// The scan after a loss is done: the state is that of the kernel again.
    pub fn recovered(&mut self) {
        for (reason, count) in std::mem::take(&mut self.unrecovered) {
            self.apply(Input::Lost { reason, count, recovered: true });
        }
    }

    /// Counts what the kernel told.
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

    /// A source came up (`reason` is `None`) or went down.
    pub fn source(&mut self, name: &str, SourceState { up, reason }: SourceState) {
        // One that has not told anything yet has no fault either.
        let is_up = up || reason.is_none();
        let known = self.sources.get(name);
        if known.is_some_and(|state| (state.is_up, &state.reason) == (is_up, &reason)) {
            return;
        }
        if let Some(reason) = &reason {
            tracing::warn!(source = name, "{reason}");
        }
        self.sources.insert(name.to_owned(), SourceStanding { since: clock::now(), is_up, reason });
    }

    #[must_use]
    pub fn converter(&self) -> Converter {
        let now = clock::now();
        Converter {
            node: Arc::clone(&self.node),
            wall: Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
            now,
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
            match (change, &mut self.kernel) {
                (Change::Watch(port), Some(kernel)) => kernel.watch(*port),
                (Change::Unwatch(port), Some(kernel)) => kernel.unwatch(*port),
                (Change::Record { port, on }, Some(kernel)) => kernel.record(*port, *on),
                _ => {}
            }
            self.remember(change);
            if let Change::Finding(finding) = change {
                self.measure_latency(finding, now);
                self.cluster.note(finding, now);
            }
            if let Some(report) = converter.change(change) {
                self.publisher.publish(&report, &converter);
            }
        }
        self.publisher.publish_gathered(&converter);
    }

    fn remember(&mut self, change: &Change) {
        match change {
            Change::Listener(listener) if listener.state == ListenerState::Closed => {
                self.closed.remember(&listener.id, Arc::clone(listener));
            }
            Change::Listener(listener) => self.closed.forget(&listener.id),
            Change::Finding(finding) if finding.state == FindingState::Resolved => {
                self.resolved.remember(&finding.id, Arc::clone(finding));
            }
            Change::Finding(finding) => self.resolved.forget(&finding.id),
            _ => {}
        }
    }

    fn measure_latency(&self, finding: &Finding, now: BootTime) {
        if finding.state == FindingState::Open
            && let Some(opened) = finding.opened_at
        {
            self.metrics.detection_latency.observe(now.since(opened).as_secs_f64());
        }
    }

    /// How the agent is doing.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let converter = self.converter();
        let mut limits: BTreeMap<String, Limit> = BTreeMap::new();
        for (name, used, max) in self.engine.limits() {
            limits.insert(name.to_owned(), Limit { used: used as u64, max: max as u64 });
        }
        let hooks = match &self.kernel {
            Some(kernel) => {
                for (name, used, max) in kernel.map_usage() {
                    limits.insert(format!("map:{name}"), Limit { used, max });
                }
                kernel.statuses().into_iter().map(hook_status).collect()
            }
            None => Vec::new(),
        };
        // Counting looks at every port.
        let counts = self.engine.counts();
        AgentStatus {
            envelope: converter.envelope(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: self.kernel_release.clone(),
            hooks,
            sources: self.source_statuses(&converter),
            namespaces: counts.netns,
            listeners: counts.listeners.values().sum::<u64>() as usize,
            lost: self.lost_totals(counts.totals.lost),
            limits,
        }
    }

    fn source_statuses(&self, converter: &Converter) -> Vec<SourceStatus> {
        let status = |(name, state): (&String, &SourceStanding)| SourceStatus {
            name: name.clone(),
            state: if state.is_up { "up" } else { "down" }.to_owned(),
            since: converter.wall.rfc3339(state.since),
            reason: state.reason.clone(),
        };
        self.sources.iter().map(status).collect()
    }

    fn lost_totals(&self, lost: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
        self.with_losses_of_lines(lost)
            .into_iter()
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect()
    }

    /// Everything that was dropped anywhere, by reason.
    fn with_losses_of_lines(&self, mut lost: BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
        let counts = self.publisher.counts();
        let too_long = self.publisher.too_long();
        let limited = [("reports", "reports-limited"), ("events", "events-limited")];
        for done in self.cluster.totals().iter().filter(|done| done.limited > 0) {
            let reason = limited.iter().find(|(sink, _)| *sink == done.sink);
            lost.extend(reason.map(|(_, reason)| (*reason, done.limited)));
        }
        let places = [
            (BLOCKED, &counts.blocked),
            (CLOSED, &counts.closed),
            (FAILED, &counts.failed),
            (TOO_LONG, &*too_long),
        ];
        let lines = places.map(|(reason, count)| (reason, count.load(Ordering::Relaxed)));
        for (reason, count) in lines.into_iter().chain(self.publisher.lost_in_export()) {
            if count > 0 {
                lost.insert(reason, count);
            }
        }
        lost
    }
}

impl Pipeline {
    /// Sets the gauges from the engine's counts and the loss counters; called with every drain.
    pub fn measure(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            let engine = &self.engine;
            kernel.unwatch_strays(engine.port_count(), |port| engine.knows_port(port), clock::now());
        }
        let generation = Some(self.engine.generation());
        let counts = if std::mem::replace(&mut self.measured, generation) == generation {
            self.engine.running_totals()
        } else {
            let counts = self.engine.counts();
            self.measure_lists(&counts);
            counts
        };
        let metrics = &self.metrics;
        let (applying, expired) = self.engine.exceptions(clock::now());
        for (state, count) in [("applies", applying), ("expired", expired)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            metrics.exceptions.get_or_create(&StateLabel { state }).set(count);
        }
        for ((declaration, origin), total) in &counts.totals.connections {
            let labels = ConnectionLabels {
                declaration: declaration.as_str(),
                origin: origin.map_or("unknown", portolan_engine::model::traffic::Origin::as_str),
            };
            let counter = metrics.connections.get_or_create(&labels);
            counter.inner().fetch_max(*total, Ordering::Relaxed);
        }
        for (reason, total) in self.with_losses_of_lines(counts.totals.lost.clone()) {
            metrics.lost_total(reason, total);
        }
        metrics.namespaces.set(i64::try_from(counts.netns).unwrap_or(i64::MAX));
        metrics.unattributed.inner().fetch_max(counts.totals.unattributed, Ordering::Relaxed);
        metrics.short_lived.inner().fetch_max(counts.totals.short_lived, Ordering::Relaxed);
        for (name, state) in &self.sources {
            let labels = SourceLabel { source: source_kind(name) };
            metrics.source_up.get_or_create(&labels).set(i64::from(state.is_up));
        }
        for done in self.cluster.totals() {
            metrics.sink_writes_total(done.sink, "written", done.written);
            metrics.sink_writes_total(done.sink, "refused", done.refused);
            metrics.sink_writes_total(done.sink, "failed", done.failed);
        }
        for (name, used, max) in self.kernel.iter().flat_map(KernelHooks::map_usage) {
            let labels = MapLabel { map: name };
            metrics.map_entries.get_or_create(&labels).set(i64::try_from(used).unwrap_or(i64::MAX));
            metrics.map_capacity.get_or_create(&labels).set(i64::try_from(max).unwrap_or(i64::MAX));
        }
    }

    fn measure_lists(&self, counts: &Counts) {
        let metrics = &self.metrics;
        metrics.set_findings(series(&counts.findings));
        metrics.set_suppressed(series(&counts.suppressed));
        metrics.set_listeners(counts.listeners.iter().map(|((protocol, declaration), count)| {
            let labels = ListenerLabels { protocol: protocol.as_str(), declaration: declaration.as_str() };
            (labels, i64::try_from(*count).unwrap_or(i64::MAX))
        }));
    }
}

fn series(
    counts: &BTreeMap<(FindingCode, Severity, String), u64>,
) -> impl Iterator<Item = (FindingLabels, i64)> {
    counts.iter().map(|((code, severity, namespace), count)| {
        let (code, severity) = (code.as_str(), severity.as_str());
        let labels = FindingLabels { code, severity, namespace: namespace.clone() };
        (labels, i64::try_from(*count).unwrap_or(i64::MAX))
    })
}

/// The label of a source: its kind, since a path would be a label that grows.
fn source_kind(name: &str) -> &'static str {
    const KNOWN: [&str; 8] = [
        "kubernetes",
        "kubernetes/namespaces",
        "kubernetes/networkpolicies",
        "kubernetes/services",
        "otlp/logs",
        "otlp/metrics",
        Reports::NAME,
        Events::NAME,
    ];
    match KNOWN.into_iter().find(|known| *known == name) {
        Some(known) => known,
        None if name == conntrack::SOURCE => conntrack::SOURCE,
        None if name == "config" => "config",
        None if name == "cri" || name.starts_with("cri=") => "cri",
        None if name.starts_with("file=") => "file",
        None => "netns",
    }
}

fn is_mended_by_scan(reason: &str) -> bool {
    matches!(reason, "listener-ring-full" | "listeners-map-full")
}

fn hook_status(hook: crate::source::kernel::HookStatus) -> HookStatus {
    HookStatus { name: hook.name, state: hook.state, reason: hook.reason }
}
