//! The metrics that are set from time to time: gauges, and counters whose totals somebody else keeps.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::traffic::Origin;
use portolan_engine::read::counts::Counts;

use crate::pipeline::Pipeline;
use crate::sink::metrics::{
    ConnectionLabels, FindingLabels, ListenerLabels, MapLabel, SourceLabel, StateLabel,
};
use crate::source::clock;
use crate::source::kernel::KernelHooks;

impl Pipeline {
    /// Sets the metrics from the engine's counts, the kernel's maps, and the states of the sources. Call it every few seconds.
    pub fn measure(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            let engine = &self.engine;
            kernel.unwatch_unknown_ports(engine.port_count(), |port| engine.knows_port(port), clock::now());
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
                origin: origin.map_or("unknown", Origin::as_str),
            };
            let counter = metrics.connections.get_or_create(&labels);
            counter.inner().fetch_max(*total, Ordering::Relaxed);
        }
        for (reason, total) in self.all_losses(counts.totals.lost.clone()) {
            metrics.lost_total(reason, total);
        }
        metrics.namespaces.set(i64::try_from(counts.netns).unwrap_or(i64::MAX));
        metrics.unattributed.inner().fetch_max(counts.totals.unattributed, Ordering::Relaxed);
        metrics.short_lived.inner().fetch_max(counts.totals.short_lived, Ordering::Relaxed);
        let up = self.states.borrow().up_by_label();
        for (source, is_up) in up {
            metrics.source_up.get_or_create(&SourceLabel { source }).set(i64::from(is_up));
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
