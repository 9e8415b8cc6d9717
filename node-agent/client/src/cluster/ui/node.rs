//! What is known of one node: its agent, its rows and its pods.

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp, Unit};
use portolan_report::answer::NodePod;
use portolan_report::chart::{
    AgentSummary, Chart, ChartRow, MAX_ROWS, MINUTES, MissingNode, TrafficCounts, minute_of,
};
use portolan_report::chart_fold::{merge_at, narrow, without_rows};
use portolan_report::wire::AgentStatus;

use super::node_answer::NodeAnswer;
use crate::cluster::fleet::NOT_READY;

/// Age beyond the rows at which counts were not on the way while the rows were read: the node's clock was set back.
const CLOCK_SET_BACK: SignedDuration = SignedDuration::from_mins(1);

/// How the agent of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not answered yet.
    Asking,
    /// It answers, and does not know everything yet.
    Starting,
    Up,
    /// It does not answer, or not with what it was asked for.
    Down,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    name: String,
    state: State,
    /// Why it is in this state, or why its rows are incomplete.
    reason: Option<String>,
    /// Since when it is in this state.
    since: String,
    status: Option<AgentStatus>,
    started_at: Option<String>,
    /// Its rows; `None` while its agent does not answer.
    chart: Option<Chart>,
    /// The counts of what the rows do not list, without rows.
    counts: Chart,
    /// Places of the rows by fingerprint.
    places: HashMap<String, usize>,
    /// Time of the chart, by the agent's clock: of the rows that were not read again since.
    read_at: Option<Timestamp>,
    /// Time of the rows that were read since, by fingerprint.
    rows_read_at: HashMap<String, Timestamp>,
    /// Its live pods, also while its agent does not answer; `None` if they were never told.
    pods: Option<Vec<NodePod>>,
    lacks: Vec<String>,
}

/// Returns the time as objects have it.
pub(super) fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now).to_string()
}

impl Node {
    /// Creates a node whose agent is asked, or cannot be asked for this reason.
    pub(super) fn new(name: &str, obstacle: Option<String>) -> Self {
        let state = if obstacle.is_some() { State::Down } else { State::Asking };
        Self {
            name: name.to_owned(),
            state,
            reason: obstacle,
            since: now(),
            status: None,
            started_at: None,
            chart: None,
            counts: Chart::default(),
            places: HashMap::new(),
            read_at: None,
            rows_read_at: HashMap::new(),
            pods: None,
            lacks: Vec::new(),
        }
    }

    fn enter(&mut self, state: State, reason: Option<String>) {
        if self.state != state || self.reason != reason {
            self.since = now();
        }
        (self.state, self.reason) = (state, reason);
    }

    /// Notes that the agent does not answer. Its rows are known no more: what they say can be wrong meanwhile.
    pub(super) fn set_down(&mut self, reason: String) {
        self.enter(State::Down, Some(reason));
        self.set_chart(None);
    }

    /// Notes that the agent, or another one in its place, is asked anew.
    pub(super) fn set_asking(&mut self) {
        self.enter(State::Asking, None);
        self.set_chart(None);
    }

    /// Takes all that the agent told. Returns true if rows changed otherwise than in their counts.
    pub(super) fn take(&mut self, answer: NodeAnswer) -> bool {
        let NodeAnswer { status, mut chart, pods, lacks, incomplete } = answer;
        let state = if incomplete.as_deref() == Some(NOT_READY) { State::Starting } else { State::Up };
        self.enter(state, incomplete);
        self.started_at = status.started_at.clone().or_else(|| Some(chart.started_at.clone()));
        self.started_at = self.started_at.take().filter(|time| !time.is_empty());
        self.status = Some(status);
        self.lacks = lacks;
        if let Some(pods) = pods {
            self.take_pods(pods);
        }
        set_node(&mut chart, &self.name);
        self.read_at = chart.time.parse().ok();
        self.rows_read_at.clear();
        let differs = self.chart.as_ref().is_none_or(|before| has_other_rows(before, &chart));
        self.set_chart(Some(chart));
        differs
    }

    /// Replaces the rows of these fingerprints.
    pub(super) fn take_rows(&mut self, fingerprints: &BTreeSet<String>, mut rows: Chart) {
        let Some(mut chart) = self.chart.take() else { return };
        set_node(&mut rows, &self.name);
        if let Ok(time) = rows.time.parse() {
            let read = rows.rows.iter().map(|row| (row.fingerprint.clone(), time));
            self.rows_read_at.retain(|fingerprint, _| !fingerprints.contains(fingerprint));
            self.rows_read_at.extend(read);
        }
        // The totals of these are known already.
        let known = &mut rows.totals;
        (known.listeners, known.pods, known.unjudged) = (0, 0, 0);
        narrow(&mut chart, MAX_ROWS, |row| !fingerprints.contains(&row.fingerprint));
        let (started_at, time) = (chart.started_at.clone(), rows.time.clone());
        let merged = merge_at(vec![chart, rows], MAX_ROWS, &time, |_| true);
        self.set_chart(Some(Chart { started_at, ..merged }));
    }

    /// Replaces the counts of rows. Returns the fingerprints of those that are known.
    pub(super) fn take_counts(&mut self, counts: TrafficCounts) -> Vec<String> {
        let Some(chart) = &mut self.chart else { return Vec::new() };
        let counted_at: Option<Timestamp> = counts.time.parse().ok();
        roll(chart, &counts.time);
        self.counts.time.clone_from(&chart.time);
        let mut known = Vec::new();
        for item in counts.items {
            let Some(row) = self.places.get(&item.fingerprint).and_then(|place| chart.rows.get_mut(*place))
            else {
                continue;
            };
            // Counts that were on the way while the row was read are older than its own.
            let read_at = self.rows_read_at.get(&item.fingerprint).or(self.read_at.as_ref());
            let age = read_at.zip(counted_at).map(|(read, counted)| read.duration_since(counted));
            if age.is_some_and(|age| age.is_positive() && age <= CLOCK_SET_BACK) {
                continue;
            }
            let before = row.calls();
            (row.attempts, row.connections) = (item.attempts, item.connections);
            (row.packets, row.bytes) = (item.packets, item.bytes);
            row.last_seen = Some(item.last_seen);
            let more = u32::try_from(row.calls().saturating_sub(before)).unwrap_or(u32::MAX);
            if more > 0 && row.code.is_some() {
                match row.minutes.last_mut() {
                    Some(minute) => *minute = minute.saturating_add(more),
                    None => row.minutes.push(more),
                }
            }
            known.push(item.fingerprint);
        }
        known
    }

    /// Replaces the status.
    pub(super) fn take_status(&mut self, status: AgentStatus) {
        self.status = Some(status);
    }

    /// Replaces the pods. They are those of this node, whatever its agent calls it.
    pub(super) fn take_pods(&mut self, mut pods: Vec<NodePod>) {
        pods.iter_mut().for_each(|pod| pod.envelope.node.clone_from(&self.name));
        self.pods = Some(pods);
    }

    /// Creates a node with these rows.
    #[cfg(test)]
    pub(super) fn of_chart(name: &str, chart: Chart) -> Self {
        let mut node = Self::new(name, None);
        node.enter(State::Up, None);
        node.set_chart(Some(chart));
        node
    }

    fn set_chart(&mut self, chart: Option<Chart>) {
        self.chart = chart;
        self.counts = self.chart.as_ref().map(without_rows).unwrap_or_default();
        let rows = self.chart.iter().flat_map(|chart| &chart.rows).enumerate();
        self.places = rows.map(|(place, row)| (row.fingerprint.clone(), place)).collect();
    }

    /// Returns the rows and counts; `None` while they are not known.
    pub(super) fn chart(&self) -> Option<&Chart> {
        self.chart.as_ref()
    }

    /// Returns the rows with one of these fingerprints, or all if there are none, for which `keep` is true; and the counts of what
    /// rows do not list. As two charts. Other rows are not copied.
    pub(super) fn rows_where(
        &self,
        fingerprints: &BTreeSet<&str>,
        keep: impl Fn(&ChartRow) -> bool,
    ) -> Option<[Chart; 2]> {
        let chart = self.chart.as_ref()?;
        let rows = if fingerprints.is_empty() {
            chart.rows.iter().filter(|row| keep(row)).cloned().collect()
        } else {
            let named = fingerprints.iter().filter_map(|fingerprint| self.row(fingerprint));
            named.filter(|row| keep(row)).cloned().collect()
        };
        let counts = self.counts.clone();
        let (time, cluster, started_at) =
            (counts.time.clone(), counts.cluster.clone(), counts.started_at.clone());
        Some([Chart { time, cluster, started_at, rows, ..Chart::default() }, counts])
    }

    /// Returns the row with this fingerprint.
    pub(super) fn row(&self, fingerprint: &str) -> Option<&ChartRow> {
        self.chart.as_ref()?.rows.get(*self.places.get(fingerprint)?)
    }

    /// Returns the known pods.
    pub(super) fn pods(&self) -> &[NodePod] {
        self.pods.as_deref().unwrap_or_default()
    }

    /// Returns the node as one whose rows are missing or incomplete; `None` if they are complete.
    pub(super) fn missing(&self) -> Option<MissingNode> {
        let reason = match (self.state, &self.reason) {
            (State::Up, None) => return None,
            (_, Some(reason)) => reason.clone(),
            (_, None) => "its agent has not answered yet".to_owned(),
        };
        let pods = if self.chart.is_none() { self.pods.as_ref().map(|pods| pods.len() as u64) } else { None };
        Some(MissingNode { node: self.name.clone(), reason, since: self.since.clone(), pods })
    }

    /// Returns the agent, as an item of `/v1/agents`.
    pub(super) fn summary(&self) -> AgentSummary {
        let of_status = self.status.as_ref().map(AgentSummary::of_status).unwrap_or_default();
        AgentSummary {
            node: self.name.clone(),
            state: self.state.as_str().to_owned(),
            reason: self.reason.clone(),
            since: self.since.clone(),
            started_at: self.started_at.clone(),
            pods: self.pods.as_ref().map(|pods| pods.len() as u64),
            lacks: self.lacks.clone(),
            ..of_status
        }
    }
}

/// Names a node in the rows of its agent, whatever the agent calls it.
pub(super) fn set_node(chart: &mut Chart, node: &str) {
    for row in &mut chart.rows {
        row.for_each_part(|row| {
            row.nodes = vec![node.to_owned()];
            row.more_nodes = 0;
        });
    }
}

/// Returns true if some rows differ otherwise than in what is counted, or if other ports wait to be judged.
fn has_other_rows(before: &Chart, after: &Chart) -> bool {
    let shapes = |chart: &Chart| -> HashMap<String, ChartRow> {
        chart.rows.iter().map(|row| (row.fingerprint.clone(), shape(row, &chart.time))).collect()
    };
    before.totals.unjudged != after.totals.unjudged
        || before.rows.len() != after.rows.len()
        || shapes(before) != shapes(after)
}

/// Returns a row of a chart of this time without what is counted. A port that was first seen at that time is one of which the agent
/// does not know it: each answer says another time.
fn shape(row: &ChartRow, time: &str) -> ChartRow {
    let is_known = row.code.is_some() || row.first_seen != time;
    ChartRow {
        first_seen: if is_known { row.first_seen.clone() } else { String::new() },
        attempts: 0,
        connections: 0,
        packets: 0,
        bytes: 0,
        last_seen: None,
        callers: Vec::new(),
        more_callers: 0,
        minutes: Vec::new(),
        served: row.served.as_deref().map(|served| Box::new(shape(served, time))),
        ..row.clone()
    }
}

/// Moves the minutes of all rows on to a later time.
fn roll(chart: &mut Chart, time: &str) {
    let Some((from, to)) = minute_of(&chart.time).zip(minute_of(time)) else { return };
    let Some(passed) = usize::try_from(to.saturating_sub(from)).ok().filter(|passed| *passed > 0) else {
        return;
    };
    time.clone_into(&mut chart.time);
    for row in chart.rows.iter_mut().filter(|row| !row.minutes.is_empty()) {
        if passed >= MINUTES {
            row.minutes.clear();
            continue;
        }
        row.minutes.extend(std::iter::repeat_n(0, passed));
        row.minutes.drain(..row.minutes.len().saturating_sub(MINUTES));
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
