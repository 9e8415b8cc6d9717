//! The `portolan_` metrics of CONTRACT: made once, passed in, never global. Counters that others keep are set from their
//! totals; nothing a pod can choose is a label, except its Kubernetes namespace.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Namespaces that get a series of their own in `findings`; the rest is summed up under [`OTHER_NAMESPACES`].
pub const MAX_NAMESPACES: usize = 500;
/// Label value of the namespaces above the cap.
pub const OTHER_NAMESPACES: &str = "(other)";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FindingLabels {
    pub code: &'static str,
    pub severity: &'static str,
    pub namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: &'static str,
    pub status: u16,
}

type Count<L> = Family<L, Counter<u64, AtomicU64>>;

/// Every metric of the agent. Cheap to clone parts of; `encode` writes them all.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub findings: Family<FindingLabels, Gauge>,
    pub listeners: Family<ListenerLabels, Gauge>,
    pub connections: Count<ConnectionLabels>,
    pub kernel_events: Count<KindLabel>,
    pub lost: Count<ReasonLabel>,
    pub map_entries: Family<MapLabel, Gauge>,
    pub map_capacity: Family<MapLabel, Gauge>,
    pub namespaces: Gauge,
    pub unattributed: Counter,
    pub source_up: Family<SourceLabel, Gauge>,
    pub scan_duration: Histogram,
    pub detection_latency: Histogram,
    pub http_requests: Count<RequestLabels>,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new(version: &'static str, kernel: String) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("portolan"),
            findings: Family::default(),
            listeners: Family::default(),
            connections: Family::default(),
            kernel_events: Family::default(),
            lost: Family::default(),
            map_entries: Family::default(),
            map_capacity: Family::default(),
            namespaces: Gauge::default(),
            unattributed: Counter::default(),
            source_up: Family::default(),
            scan_duration: Histogram::new(exponential_buckets(0.000_1, 4.0, 10)),
            detection_latency: Histogram::new(exponential_buckets(0.001, 2.5, 12)),
            http_requests: Family::default(),
        };
        metrics.register(version, kernel);
        metrics
    }

    fn register(&mut self, version: &'static str, kernel: String) {
        let r = &mut self.registry;
        let build = Info::new(vec![("version", version.to_owned()), ("kernel", kernel)]);
        r.register("build", "Version of the agent and release of the kernel", build);
        r.register("findings", "Open findings", self.findings.clone());
        r.register("listeners", "Open listening ports", self.listeners.clone());
        r.register("connections", "Completed connections to listening ports", self.connections.clone());
        r.register("kernel_events", "Events that the kernel programs sent", self.kernel_events.clone());
        r.register("lost", "What was dropped, by the place that dropped it", self.lost.clone());
        r.register("map_entries", "Entries in a kernel map or table", self.map_entries.clone());
        r.register("map_capacity", "Entries that a kernel map or table can hold", self.map_capacity.clone());
        r.register("namespaces", "Network namespaces that are observed", self.namespaces.clone());
        r.register("unattributed", "Listeners for which no pod was found", self.unattributed.clone());
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
    }

    /// Raises the counter of `reason` to `total`, the number that its owner keeps; never lowers it.
    pub fn lost_total(&self, reason: &'static str, total: u64) {
        let counter = self.lost.get_or_create(&ReasonLabel { reason });
        counter.inner().fetch_max(total, std::sync::atomic::Ordering::Relaxed);
    }

    /// Sets `findings` to these counts; series that are not listed go. Beyond [`MAX_NAMESPACES`] namespaces are
    /// summed up.
    pub fn set_findings(&self, counts: impl IntoIterator<Item = (FindingLabels, i64)>) {
        self.findings.clear();
        let mut seen = std::collections::BTreeSet::new();
        for (mut labels, count) in counts {
            if seen.len() < MAX_NAMESPACES {
                seen.insert(labels.namespace.clone());
            } else if !seen.contains(&labels.namespace) {
                labels.namespace = OTHER_NAMESPACES.to_owned();
            }
            self.findings.get_or_create(&labels).inc_by(count);
        }
    }

    /// The exposition text (OpenMetrics 1.0).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
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
}
