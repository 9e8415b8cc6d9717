//! The `portolan_` metrics, created once and passed to all users, never global. Counters of other parts are set from their
//! totals. No text that a pod can choose is a label, except its Kubernetes namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Maximum number of Kubernetes namespaces with their own series in `findings`. The rest is summed under
/// [`OTHER_NAMESPACES`].
pub const MAX_NAMESPACES: usize = 500;
/// Label value of the namespaces above [`MAX_NAMESPACES`].
pub const OTHER_NAMESPACES: &str = "(other)";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct FindingLabels {
    pub code: &'static str,
    pub severity: &'static str,
    pub namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct ListenerLabels {
    pub protocol: &'static str,
    pub declaration: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConnectionLabels {
    pub declaration: &'static str,
    pub origin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    pub kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MapLabel {
    pub map: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabel {
    pub source: &'static str,
}

/// State of an exception: `applies` or `expired`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    pub state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: &'static str,
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabels {
    pub sink: &'static str,
    pub result: &'static str,
}

type Count<L> = Family<L, Counter<u64, AtomicU64>>;

/// All metrics of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    findings: Family<FindingLabels, Gauge>,
    findings_series: Mutex<BTreeSet<FindingLabels>>,
    suppressed: Family<FindingLabels, Gauge>,
    suppressed_series: Mutex<BTreeSet<FindingLabels>>,
    pub exceptions: Family<StateLabel, Gauge>,
    listeners: Family<ListenerLabels, Gauge>,
    listeners_series: Mutex<BTreeSet<ListenerLabels>>,
    pub connections: Count<ConnectionLabels>,
    pub kernel_events: Count<KindLabel>,
    pub lost: Count<ReasonLabel>,
    pub map_entries: Family<MapLabel, Gauge>,
    pub map_capacity: Family<MapLabel, Gauge>,
    pub namespaces: Gauge,
    pub netns_scans_waiting: Gauge,
    pub unattributed: Counter,
    pub short_lived: Counter,
    pub source_up: Family<SourceLabel, Gauge>,
    pub scan_duration: Histogram,
    pub detection_latency: Histogram,
    pub http_requests: Count<RequestLabels>,
    sink_writes: Count<SinkLabels>,
}

impl Metrics {
    /// Creates all metrics with the value 0.
    #[must_use]
    pub fn new(version: &'static str, kernel: String) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("portolan"),
            findings: Family::default(),
            findings_series: Mutex::default(),
            suppressed: Family::default(),
            suppressed_series: Mutex::default(),
            exceptions: Family::default(),
            listeners: Family::default(),
            listeners_series: Mutex::default(),
            connections: Family::default(),
            kernel_events: Family::default(),
            lost: Family::default(),
            map_entries: Family::default(),
            map_capacity: Family::default(),
            namespaces: Gauge::default(),
            netns_scans_waiting: Gauge::default(),
            unattributed: Counter::default(),
            short_lived: Counter::default(),
            source_up: Family::default(),
            scan_duration: Histogram::new(exponential_buckets(0.000_1, 4.0, 10)),
            detection_latency: Histogram::new(exponential_buckets(0.001, 2.5, 12)),
            http_requests: Family::default(),
            sink_writes: Family::default(),
        };
        metrics.register(version, kernel);
        metrics
    }

    fn register(&mut self, version: &'static str, kernel: String) {
        let r = &mut self.registry;
        let build = Info::new(vec![("version", version.to_owned()), ("kernel", kernel)]);
        r.register("build", "Version of the agent and release of the kernel", build);
        r.register("findings", "Open findings", self.findings.clone());
        r.register("suppressed_findings", "Findings that exceptions suppress", self.suppressed.clone());
        r.register("exceptions", "Rules of the configuration file", self.exceptions.clone());
        r.register("listeners", "Open listening ports", self.listeners.clone());
        r.register("connections", "Completed connections to listening ports", self.connections.clone());
        r.register("kernel_events", "Events that the kernel programs sent", self.kernel_events.clone());
        r.register("lost", "What was dropped, by the place that dropped it", self.lost.clone());
        r.register("map_entries", "Entries in a kernel map or table", self.map_entries.clone());
        r.register("map_capacity", "Entries that a kernel map or table can hold", self.map_capacity.clone());
        r.register("namespaces", "Network namespaces that are observed", self.namespaces.clone());
        let waiting = "Network namespaces that wait for the budget of requested scans";
        r.register("netns_scans_waiting", waiting, self.netns_scans_waiting.clone());
        r.register("unattributed", "Listeners for which no pod was found", self.unattributed.clone());
        r.register(
            "short_lived",
            "Listeners that ended within the grace time, so that no finding was made of them",
            self.short_lived.clone(),
        );
        r.register("source_up", "1 while a source of facts works", self.source_up.clone());
        r.register_with_unit(
            "scan_duration",
            "Scan of one network namespace",
            Unit::Seconds,
            self.scan_duration.clone(),
        );
        r.register_with_unit(
            "detection_latency",
            "From a socket's opening to its finding being written, the grace time included",
            Unit::Seconds,
            self.detection_latency.clone(),
        );
        r.register("http_requests", "Requests that were answered", self.http_requests.clone());
        r.register("sink_writes", "Objects that were sent to other systems", self.sink_writes.clone());
    }

    /// Raises the loss counter of `reason` to `total`, which its owner counts. Never lowers it.
    pub fn lost_total(&self, reason: &'static str, total: u64) {
        let counter = self.lost.get_or_create(&ReasonLabel { reason });
        counter.inner().fetch_max(total, std::sync::atomic::Ordering::Relaxed);
    }

    /// Raises the counter of a sink's writes with this result to `total`. Never lowers it.
    pub fn sink_writes_total(&self, sink: &'static str, result: &'static str, total: u64) {
        let counter = self.sink_writes.get_or_create(&SinkLabels { sink, result });
        counter.inner().fetch_max(total, std::sync::atomic::Ordering::Relaxed);
    }

    /// Sets `findings` to these counts, and removes all other series. Namespaces beyond [`MAX_NAMESPACES`] are summed.
    pub fn set_findings(&self, counts: impl IntoIterator<Item = (FindingLabels, i64)>) {
        replace(&self.findings, &self.findings_series, sums(counts));
    }

    /// Sets `suppressed_findings`, like [`Self::set_findings`].
    pub fn set_suppressed(&self, counts: impl IntoIterator<Item = (FindingLabels, i64)>) {
        replace(&self.suppressed, &self.suppressed_series, sums(counts));
    }

    /// Sets `listeners` to these counts, and removes all other series.
    pub fn set_listeners(&self, counts: impl IntoIterator<Item = (ListenerLabels, i64)>) {
        replace(&self.listeners, &self.listeners_series, counts.into_iter().collect());
    }

    /// Returns the exposition text (OpenMetrics 1.0).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Sums the counts by labels, with the cap on namespaces.
fn sums(counts: impl IntoIterator<Item = (FindingLabels, i64)>) -> BTreeMap<FindingLabels, i64> {
    let mut seen = BTreeSet::new();
    let mut sums: BTreeMap<FindingLabels, i64> = BTreeMap::new();
    for (mut labels, count) in counts {
        if seen.len() < MAX_NAMESPACES {
            seen.insert(labels.namespace.clone());
        } else if !seen.contains(&labels.namespace) {
            labels.namespace = OTHER_NAMESPACES.to_owned();
        }
        *sums.entry(labels).or_default() += count;
    }
    sums
}

/// Sets every series, then removes those without a count. A concurrent reader finds each series that stays, with its old or
/// new value.
fn replace<L>(family: &Family<L, Gauge>, shown: &Mutex<BTreeSet<L>>, counts: BTreeMap<L, i64>)
where
    L: Clone + Eq + Hash + Ord,
{
    for (labels, count) in &counts {
        family.get_or_create(labels).set(*count);
    }
    let now: BTreeSet<L> = counts.into_keys().collect();
    let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    for gone in shown.difference(&now) {
        family.remove(gone);
    }
    *shown = now;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_contract() {
        let metrics = Metrics::new("0.1.0", "6.18".to_owned());
        metrics.lost_total("stdout-blocked", 3);
        metrics.lost_total("stdout-blocked", 2);
        metrics.set_findings((0..600).map(|n| {
            (FindingLabels { code: "undeclared-active", severity: "high", namespace: format!("n{n:03}") }, 1)
        }));
        metrics.http_requests.get_or_create(&RequestLabels { route: "/v1/findings", status: 200 }).inc();
        metrics.scan_duration.observe(0.001);
        let text = metrics.encode();
        for line in [
            "portolan_build_info{version=\"0.1.0\",kernel=\"6.18\"} 1",
            "portolan_lost_total{reason=\"stdout-blocked\"} 3",
            "portolan_findings{code=\"undeclared-active\",severity=\"high\",namespace=\"n007\"} 1",
            "portolan_findings{code=\"undeclared-active\",severity=\"high\",namespace=\"(other)\"} 100",
            "portolan_http_requests_total{route=\"/v1/findings\",status=\"200\"} 1",
            "portolan_scan_duration_seconds_count 1",
            "portolan_namespaces 0",
            "portolan_unattributed_total 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_concurrent_reader_never_misses_a_series() {
        let metrics = Metrics::new("0.1.0", "6.18".to_owned());
        let labels = |code| FindingLabels { code, severity: "high", namespace: "shop".to_owned() };
        metrics.set_findings([(labels("stays"), 1)]);
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..3000 {
                    metrics.set_findings([(labels("stays"), 1), (labels(["a", "b"][n % 2]), 1)]);
                }
                ended.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                let text = metrics.encode();
                let stays = "portolan_findings{code=\"stays\",severity=\"high\",namespace=\"shop\"} 1\n";
                assert!(text.contains(stays), "{text}");
            }
        });
        let text = metrics.encode();
        assert!(text.contains("code=\"b\"") && !text.contains("code=\"a\""), "{text}");
    }
}
