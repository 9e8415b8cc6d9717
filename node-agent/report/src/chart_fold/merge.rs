//! Merges the charts of several nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::finish::{beyond, declared_of_nodes, fill};
use super::row::{self, Gathered};
use super::{Port, PortPart};
use crate::chart::{Chart, ChartRow, ChartTotals, DeclaredPorts, MINUTES};
use crate::wire::{Pod, SCHEMA};
use crate::workload_table::{PodTotals, total_key};

/// Merges charts of different nodes: rows of one fingerprint become one. Ports without a finding are listed if there are at most
/// `declared_limit` of them and every chart lists its own, else counted by workload.
///
/// Counts are sums. `podsTotal` is one of the nodes that have a row only; [`set_pods_total`] corrects it. `asOf` stays empty: each
/// node has its own. `startedAt` is the latest, as before it one of the agents knew nothing; it is empty if one does not say.
#[must_use]
pub fn merge(charts: Vec<Chart>, declared_limit: usize) -> Chart {
    let latest = charts.iter().map(|chart| chart.time.clone()).max().unwrap_or_default();
    let mut merged = Chart {
        schema: SCHEMA.to_owned(),
        cluster: same(charts.iter().map(|chart| chart.cluster.as_ref())),
        node: same(charts.iter().map(|chart| chart.node.as_ref())),
        started_at: started_at(&charts),
        ..Chart::default()
    };
    let is_counted = charts.iter().any(|chart| !chart.declared.is_empty());
    let mut ports: BTreeMap<String, Port> = BTreeMap::new();
    let mut declared = Vec::new();
    for chart in charts {
        let shift = minutes_between(&chart.time, &latest);
        add_totals(&mut merged.totals, beyond(&chart.totals, &chart.rows));
        merged.missing.extend(chart.missing);
        let mut of_node = chart.declared;
        for row in chart.rows {
            if is_counted && row.code.is_none() {
                add_declared(&mut of_node, row);
                continue;
            }
            let port = ports.entry(row.fingerprint.clone()).or_default();
            row::add(port.part(PortPart::of_row(&row)), Gathered::of_row(row, shift));
        }
        declared.push(of_node);
    }
    merged.time = latest;
    merged.declared = declared_of_nodes(declared);
    merged.missing.sort_by(|one, other| one.node.cmp(&other.node));
    let rows: Vec<ChartRow> =
        ports.into_values().filter_map(Port::into_gathered).map(Gathered::into_row).collect();
    fill(&mut merged, rows, declared_limit);
    merged
}

/// Counts a row as one of its workload's declared ports.
fn add_declared(declared: &mut Vec<DeclaredPorts>, row: ChartRow) {
    let same = declared.iter_mut().find(|ports| {
        ports.namespace == row.namespace
            && ports.workload == row.workload
            && (row.workload.is_some() || ports.pod == row.pod)
    });
    match same {
        Some(ports) => {
            ports.ports = ports.ports.saturating_add(1);
            ports.connections = ports.connections.saturating_add(row.connections);
        }
        None => declared.push(DeclaredPorts {
            namespace: row.namespace,
            workload: row.workload,
            pod: row.pod,
            ports: 1,
            connections: row.connections,
        }),
    }
}

fn add_totals(sum: &mut ChartTotals, totals: ChartTotals) {
    for (severity, count) in totals.open {
        let sum = sum.open.entry(severity).or_default();
        *sum = sum.saturating_add(count);
    }
    sum.suppressed = sum.suppressed.saturating_add(totals.suppressed);
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

/// Returns the number of minutes from one time to another, by their minutes; [`MINUTES`] if one of them is no time.
fn minutes_between(one: &str, other: &str) -> usize {
    let minute = |time: &str| Some(time.parse::<Timestamp>().ok()?.as_second().div_euclid(60));
    let minutes = minute(other).zip(minute(one)).map(|(other, one)| other.saturating_sub(one));
    minutes.and_then(|minutes| usize::try_from(minutes).ok()).unwrap_or(MINUTES)
}

/// Sets the number of live pods of each row's workload from those of all nodes. A row whose workload is unknown to `totals` keeps
/// its number.
pub fn set_pods_total(chart: &mut Chart, totals: &PodTotals) {
    for row in chart.rows.iter_mut().filter(|row| row.state != "resolved") {
        let (Some(namespace), Some(name)) = (&row.namespace, &row.pod) else { continue };
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
}
