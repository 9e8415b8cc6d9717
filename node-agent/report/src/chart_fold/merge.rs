//! Merges the charts of several nodes.

use std::collections::BTreeMap;

use super::finish::{beyond, by_workload, declared_of_nodes, fill, kept};
use super::row::{self, Gathered};
use super::{Port, PortPart};
use crate::chart::{Chart, ChartRow, ChartTotals, MINUTES, minute_of};
use crate::wire::{Pod, SCHEMA};
use crate::workload_table::{PodTotals, total_key};

/// Merges charts of different nodes: rows of one fingerprint become one. Ports without a finding are listed if there are at most
/// `declared_limit` of them and every chart lists its own, else counted by workload.
///
/// Rows for which `keep` is false are left out before the number of rows is bounded, so that they take no room from the others. It is
/// asked of merged rows, and not of ports that are only counted.
///
/// `time` (RFC 3339) is that of the merged chart. The minutes of an older chart are moved by its age; those of a later one, whose
/// node has another clock, count as of now, and those of a chart without a time are left out.
///
/// Counts are sums. `podsTotal` is one of the nodes that have a row only; [`set_pods_total`] corrects it. `asOf` stays empty: each
/// node has its own. `startedAt` is the latest, as before it one of the agents knew nothing; it is empty if one does not say.
#[must_use]
pub fn merge_at(
    charts: Vec<Chart>,
    declared_limit: usize,
    time: &str,
    keep: impl Fn(&ChartRow) -> bool,
) -> Chart {
    let mut merged = Chart {
        schema: SCHEMA.to_owned(),
        cluster: same(charts.iter().map(|chart| chart.cluster.as_ref())),
        node: same(charts.iter().map(|chart| chart.node.as_ref())),
        time: time.to_owned(),
        started_at: started_at(&charts),
        ..Chart::default()
    };
    let is_counted = charts.iter().any(|chart| !chart.declared.is_empty());
    let mut ports: BTreeMap<String, Port> = BTreeMap::new();
    let mut declared = Vec::new();
    for chart in charts {
        let shift = minutes_between(&chart.time, time);
        add_totals(&mut merged.totals, beyond(&chart.totals, &chart.rows));
        merged.missing.extend(chart.missing);
        let mut of_node = Vec::new();
        for row in chart.rows.into_iter().flat_map(parts) {
            if is_counted && row.code.is_none() {
                of_node.push(row);
                continue;
            }
            let port = ports.entry(row.fingerprint.clone()).or_default();
            row::add(port.part(PortPart::of_row(&row)), Gathered::of_row(row, shift));
        }
        declared.push(by_workload(chart.declared, of_node));
    }
    merged.declared = declared_of_nodes(declared);
    merged.missing.sort_by(|one, other| one.node.cmp(&other.node));
    let rows = ports.into_values().filter_map(|port| port.into_row(Gathered::into_row));
    let rows = rows.filter_map(|row| kept(row, &keep)).collect();
    fill(&mut merged, rows, declared_limit);
    merged
}

/// Returns a row, and the port that is served beside it.
fn parts(mut row: ChartRow) -> impl Iterator<Item = ChartRow> {
    let served = row.served.take().map(|served| *served);
    std::iter::once(row).chain(served)
}

fn add_totals(sum: &mut ChartTotals, totals: ChartTotals) {
    for (severity, count) in totals.open {
        let sum = sum.open.entry(severity).or_default();
        *sum = sum.saturating_add(count);
    }
    sum.suppressed = sum.suppressed.saturating_add(totals.suppressed);
    sum.unjudged = sum.unjudged.saturating_add(totals.unjudged);
    sum.findings = sum.findings.saturating_add(totals.findings);
    sum.listeners = sum.listeners.saturating_add(totals.listeners);
    sum.pods = sum.pods.saturating_add(totals.pods);
    sum.unlisted = sum.unlisted.saturating_add(totals.unlisted);
}

/// Returns the value that all have.
fn same<'a>(values: impl Iterator<Item = Option<&'a String>>) -> Option<String> {
    let mut values = values;
    let first = values.next().flatten()?;
    values.all(|value| value == Some(first)).then(|| first.clone())
}

fn started_at(charts: &[Chart]) -> String {
    let mut starts = charts.iter().map(|chart| &chart.started_at);
    if starts.clone().any(String::is_empty) {
        return String::new();
    }
    starts.by_ref().max().cloned().unwrap_or_default()
}

/// Returns the number of minutes from one time to another, by their minutes; 0 if the former is later, and [`MINUTES`] if one of
/// them is no time.
fn minutes_between(one: &str, other: &str) -> usize {
    let minutes = minute_of(other).zip(minute_of(one)).map(|(other, one)| other.saturating_sub(one).max(0));
    minutes.and_then(|minutes| usize::try_from(minutes).ok()).unwrap_or(MINUTES)
}

/// Sets the number of live pods of each row's workload from those of all nodes. A row whose workload is unknown to `totals` keeps
/// its number.
pub fn set_pods_total(chart: &mut Chart, totals: &PodTotals) {
    for row in &mut chart.rows {
        row.for_each_part(|row| set_total(row, totals));
    }
}

fn set_total(row: &mut ChartRow, totals: &PodTotals) {
    let (Some(namespace), Some(name)) = (&row.namespace, &row.pod) else { return };
    if row.state == "resolved" {
        return;
    }
    let pod = Pod {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: String::new(),
        workload: row.workload.clone(),
        host_network: false,
        labels: None,
    };
    let node = row.nodes.first().map_or("", String::as_str);
    if let Some(total) = totals.get(&total_key(&pod, node)) {
        row.pods_total = Some((*total as u64).max(row.pods));
    }
}
