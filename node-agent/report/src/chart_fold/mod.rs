//! Folds findings and listeners of pods into the rows of a chart, one per workload's port, and merges the charts of several
//! nodes into one. It does no IO: an agent, and a client that asks older agents, feed it page by page.

mod callers;
mod finish;
mod merge;
mod row;

use std::collections::{BTreeMap, BTreeSet};

use crate::answer::NodePod;
use crate::chart::{Chart, ChartRow, MINUTES};
use crate::wire::{Finding, Listener, Pod};
use crate::workload_table::{PodTotals, total_key};

pub use callers::PodDirectory;
pub use finish::{narrow, narrow_declared, without_rows};
pub use merge::{merge_at, set_pods_total};
use row::Gathered;

/// What a chart says about itself beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChartHeader {
    /// Name of the cluster, if it is known.
    pub cluster: Option<String>,
    /// Name of the node.
    pub node: String,
    /// Time of the answer (RFC 3339, UTC).
    pub time: String,
    /// Id of the last event that the rows certainly contain.
    pub as_of: String,
    /// Start of the agent (RFC 3339, UTC); empty if the agent does not say.
    pub started_at: String,
}

/// Rows in the making. Its size is that of the findings and listeners that it was given, without what their rows share.
#[derive(Debug)]
pub struct ChartFold {
    header: ChartHeader,
    /// By fingerprint.
    ports: BTreeMap<String, Port>,
    pod_totals: PodTotals,
    directory: PodDirectory,
    listeners: u64,
    pods: u64,
}

/// Everything about one fingerprint. One of the three makes the row: the first that is there. A row of resolved findings has the
/// port that is still served beside it.
#[derive(Debug, Default)]
struct Port {
    /// Open and suppressed findings.
    live: Option<Gathered>,
    /// Resolved findings.
    ended: Option<Gathered>,
    /// Listeners, whether or not they have a finding.
    served: Option<Gathered>,
    minutes: Vec<u32>,
}

/// Names the parts of a [`Port`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortPart {
    Live,
    Ended,
    Served,
}

impl PortPart {
    fn of_row(row: &ChartRow) -> Self {
        match (row.code.is_some(), row.state.as_str()) {
            (false, _) => Self::Served,
            (true, "resolved") => Self::Ended,
            (true, _) => Self::Live,
        }
    }
}

impl Port {
    const fn part(&mut self, part: PortPart) -> &mut Option<Gathered> {
        match part {
            PortPart::Live => &mut self.live,
            PortPart::Ended => &mut self.ended,
            PortPart::Served => &mut self.served,
        }
    }

    /// Returns the row, from parts that `finish` makes rows. Numbers of resolved findings and of listeners without one are not
    /// added to those of a finding, so that a row does not depend on what else was asked for.
    fn into_row(self, finish: impl Fn(Gathered) -> ChartRow) -> Option<ChartRow> {
        let Self { live, ended, served, .. } = self;
        if let Some(live) = live {
            return Some(finish(live));
        }
        let served = served.map(&finish);
        match ended {
            Some(ended) => Some(ChartRow { served: served.map(Box::new), ..finish(ended) }),
            None => served,
        }
    }

    fn into_full_row(mut self, totals: &PodTotals, directory: &PodDirectory) -> Option<ChartRow> {
        let minutes = trimmed(&std::mem::take(&mut self.minutes));
        self.into_row(|mut gathered| {
            gathered.name_callers(directory);
            let total = gathered.owner().and_then(|owner| totals.get(owner).copied());
            let mut row = gathered.into_row();
            if row.state != "resolved" {
                // In a rollout, pods that are not live any more can be among them.
                row.pods_total = total.map(|total| (total as u64).max(row.pods));
                row.minutes.clone_from(&minutes);
            }
            row
        })
    }
}

impl ChartFold {
    /// Starts a chart of the node with this name, of the time `now` (RFC 3339, UTC).
    #[must_use]
    pub fn new(node: &str, now: &str) -> Self {
        Self::with_header(ChartHeader {
            node: node.to_owned(),
            time: now.to_owned(),
            ..ChartHeader::default()
        })
    }

    /// Starts a chart with this header.
    #[must_use]
    pub fn with_header(header: ChartHeader) -> Self {
        Self {
            header,
            ports: BTreeMap::new(),
            pod_totals: PodTotals::new(),
            directory: PodDirectory::default(),
            listeners: 0,
            pods: 0,
        }
    }

    /// Adds a finding. Of several objects with one id, only the latest may be added.
    pub fn add_finding(&mut self, finding: &Finding) {
        let gathered = Gathered::of_finding(finding);
        let port = self.ports.entry(gathered.row().fingerprint.clone()).or_default();
        row::add(port.part(PortPart::of_row(gathered.row())), gathered);
    }

    /// Adds a listening port. It makes a row if no finding has its fingerprint. A closed port is left out, and so is a UDP port
    /// that may be a client's, except from the count of listeners.
    pub fn add_listener(&mut self, listener: &Listener) {
        if listener.state == "closed" {
            return;
        }
        self.listeners = self.listeners.saturating_add(1);
        if listener.unproven {
            return;
        }
        // Of an agent that does not tell its start, the chart's own time is all that is known.
        let ChartHeader { started_at, time, .. } = &self.header;
        let gathered = Gathered::of_listener(listener, if started_at.is_empty() { time } else { started_at });
        row::add(&mut self.ports.entry(gathered.row().fingerprint.clone()).or_default().served, gathered);
    }

    /// Adds a live pod to the total of its workload, and to those by which callers are named.
    pub fn add_pod(&mut self, pod: &NodePod) {
        *self.pod_totals.entry(total_key(&pod.pod, &pod.envelope.node)).or_default() += 1;
        self.directory.add(pod);
    }

    /// Sets the number of live pods of each workload, as [`crate::workload_table::pod_totals`] counts them. Each pod comes with
    /// the name of its node. Replaces what [`Self::add_pod`] counted.
    pub fn set_pods_total<'a>(&mut self, pods: impl IntoIterator<Item = (&'a Pod, &'a str)>) {
        self.pod_totals = crate::workload_table::pod_totals(pods);
    }

    /// Sets the number of pods that were looked at.
    pub const fn set_pods_looked_at(&mut self, pods: u64) {
        self.pods = pods;
    }

    /// Adds counts per minute to a port. The last one is the minute of the chart's time.
    pub fn add_minutes(&mut self, fingerprint: &str, minutes: &[u32]) {
        if let Some(port) = self.ports.get_mut(fingerprint) {
            row::add_minutes(&mut port.minutes, minutes, 0);
        }
    }

    /// Returns the chart with the rows for which `keep` is true. Ports without a finding are listed if there are at most
    /// `declared_limit` of them, else counted by workload.
    #[must_use]
    pub fn finish(self, declared_limit: usize, keep: impl Fn(&ChartRow) -> bool) -> Chart {
        let Self { header, ports, pod_totals, directory, listeners, pods } = self;
        let rows: Vec<ChartRow> = ports
            .into_values()
            .filter_map(|port| port.into_full_row(&pod_totals, &directory))
            .filter_map(|row| finish::kept(row, &keep))
            .collect();
        let mut chart = Chart {
            schema: crate::wire::SCHEMA.to_owned(),
            cluster: header.cluster,
            node: Some(header.node),
            time: header.time,
            as_of: header.as_of,
            started_at: header.started_at,
            ..Chart::default()
        };
        chart.totals.listeners = listeners;
        chart.totals.pods = pods;
        finish::fill(&mut chart, rows, declared_limit);
        chart
    }
}

/// Returns minutes as an answer has them: at most [`MINUTES`], without zeros at the beginning.
fn trimmed(minutes: &[u32]) -> Vec<u32> {
    let recent = minutes.get(minutes.len().saturating_sub(MINUTES)..).unwrap_or_default();
    recent.iter().copied().skip_while(|count| *count == 0).collect()
}

/// Returns the first `most` of a set, and how many are left.
fn first_of(set: BTreeSet<String>, most: usize) -> (Vec<String>, u64) {
    let more = set.len().saturating_sub(most) as u64;
    (set.into_iter().take(most).collect(), more)
}

#[cfg(test)]
mod tests;
