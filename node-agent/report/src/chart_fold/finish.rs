//! The last step of a chart: order, counts and bounds of its rows.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::callers::least;
use super::row::{class, severity};
use crate::chart::{Chart, ChartRow, ChartTotals, DeclaredPorts, MAX_ROWS};

/// What ports of one workload have in common: namespace, and kind and name of the workload or the name of the pod.
type WorkloadKey = (Option<String>, Option<(String, String)>, Option<String>);

fn key_of(
    namespace: Option<&String>,
    workload: Option<&crate::wire::Workload>,
    pod: Option<&String>,
) -> WorkloadKey {
    let workload = workload.map(|workload| (workload.kind.clone(), workload.name.clone()));
    let pod = if workload.is_some() { None } else { pod.cloned() };
    (namespace.cloned(), workload, pod)
}

/// Sorts the rows and sets rows, declared ports and counts of a chart. `chart.declared` and its totals are what rows do not
/// count.
pub(super) fn fill(chart: &mut Chart, rows: Vec<ChartRow>, declared_limit: usize) {
    let (mut rows, others): (Vec<ChartRow>, Vec<ChartRow>) =
        rows.into_iter().partition(|row| row.code.is_some());
    let (mut declared, unjudged): (Vec<ChartRow>, Vec<ChartRow>) = others.into_iter().partition(is_declared);
    let beside = rows.iter_mut().filter_map(|row| row.served.take_if(|served| !is_declared(served))).count();
    let counted = chart.counted_ports();
    let totals = &mut chart.totals;
    totals.unjudged = totals.unjudged.saturating_add((unjudged.len() + beside) as u64);
    count(totals, &rows);
    rows.sort_by_cached_key(order);
    let beyond = rows.split_off(rows.len().min(MAX_ROWS));
    totals.unlisted = totals.unlisted.saturating_add(beyond.len() as u64);
    declared.extend(beyond.into_iter().filter_map(|row| row.served.map(|served| *served)));
    let beside_ended = rows.iter().filter(|row| row.served.is_some()).count();
    let number = declared.len() + beside_ended;
    totals.declared = counted.saturating_add(number as u64);
    if counted == 0 && number <= declared_limit && declared.len() <= MAX_ROWS - rows.len() {
        declared.sort_by_cached_key(order);
        rows.append(&mut declared);
    } else {
        declared.extend(rows.iter_mut().filter_map(|row| row.served.take()).map(|served| *served));
        chart.declared = by_workload(std::mem::take(&mut chart.declared), declared);
    }
    chart.rows = rows;
}

/// Returns true if a manifest declares or explains a port without a finding, or if it belongs to no pod, so that no manifest
/// could: those of the node itself are never judged. Ports of a pod that are in a port storm, or not judged yet, have no finding
/// either.
fn is_declared(row: &ChartRow) -> bool {
    match row.declaration.as_str() {
        "declared" | "explained" => true,
        "unknown" => row.namespace.is_none(),
        _ => false,
    }
}

/// Returns the row if `keep` is true for it, else the port that is served beside a resolved finding if it is true for that one.
pub(super) fn kept(mut row: ChartRow, keep: impl Fn(&ChartRow) -> bool) -> Option<ChartRow> {
    let served = row.served.take().filter(|served| keep(served));
    if keep(&row) {
        row.served = served;
        return Some(row);
    }
    served.map(|served| *served)
}

fn count<'a>(totals: &mut ChartTotals, rows: impl IntoIterator<Item = &'a ChartRow>) {
    for row in rows {
        match row.state.as_str() {
            "open" => {
                let severity = row.severity.clone().unwrap_or_default();
                *totals.open.entry(severity).or_default() += 1;
            }
            "suppressed" => totals.suppressed = totals.suppressed.saturating_add(1),
            _ => {}
        }
        totals.findings = totals.findings.saturating_add(findings_of(row));
    }
}

fn findings_of(row: &ChartRow) -> u64 {
    (row.findings.len() as u64).saturating_add(row.more_findings)
}

/// Order of rows: state, severity, calls, and names.
fn order(row: &ChartRow) -> impl Ord + use<> {
    (
        class(row),
        Reverse(severity(row)),
        Reverse(row.calls()),
        key_of(row.namespace.as_ref(), row.workload.as_ref(), row.pod.as_ref()),
        (row.port, row.protocol.clone(), row.fingerprint.clone()),
    )
}

/// Counts ports without a finding by workload, beside those that are counted already.
pub(super) fn by_workload(counted: Vec<DeclaredPorts>, rows: Vec<ChartRow>) -> Vec<DeclaredPorts> {
    let rows = rows.into_iter().map(|row| DeclaredPorts {
        namespace: row.namespace,
        workload: row.workload,
        pod: row.pod,
        ports: 1,
        connections: row.connections,
    });
    of_workloads(counted.into_iter().chain(rows), u64::saturating_add)
}

/// Returns declared ports of several nodes as one list. A workload has the same ports on each, so that the greatest number of one
/// node counts, which is the least that there can be.
pub(super) fn declared_of_nodes(nodes: Vec<Vec<DeclaredPorts>>) -> Vec<DeclaredPorts> {
    of_workloads(nodes.into_iter().flatten(), u64::max)
}

/// Returns one item for each workload. `number` makes one number of ports of two.
fn of_workloads(
    declared: impl Iterator<Item = DeclaredPorts>,
    number: impl Fn(u64, u64) -> u64,
) -> Vec<DeclaredPorts> {
    let mut of_workloads: BTreeMap<WorkloadKey, DeclaredPorts> = BTreeMap::new();
    for ports in declared {
        match of_workloads.entry(key_of(
            ports.namespace.as_ref(),
            ports.workload.as_ref(),
            ports.pod.as_ref(),
        )) {
            Entry::Vacant(entry) => drop(entry.insert(ports)),
            Entry::Occupied(mut entry) => {
                let sum = entry.get_mut();
                sum.ports = number(sum.ports, ports.ports);
                sum.connections = sum.connections.saturating_add(ports.connections);
                sum.pod = least(sum.pod.take(), ports.pod);
            }
        }
    }
    of_workloads.into_values().collect()
}

/// Leaves out the rows for which `keep` is false, and counts again. For a chart that lists everything: what is only counted stays
/// counted, but for [`narrow_declared`], and so do unjudged ports, listeners and pods, of which rows tell nothing.
pub fn narrow(chart: &mut Chart, declared_limit: usize, keep: impl Fn(&ChartRow) -> bool) {
    let rows = std::mem::take(&mut chart.rows);
    chart.totals = beyond(&chart.totals, &rows);
    fill(chart, rows.into_iter().filter_map(|row| kept(row, &keep)).collect(), declared_limit);
}

/// Leaves out the counted declared ports for which `keep` is false. Call it before [`narrow`], which may count more of them.
pub fn narrow_declared(chart: &mut Chart, keep: impl Fn(&DeclaredPorts) -> bool) {
    let before = chart.counted_ports();
    chart.declared.retain(keep);
    let left_out = before.saturating_sub(chart.counted_ports());
    chart.totals.declared = chart.totals.declared.saturating_sub(left_out);
}

/// Returns a chart without its rows, and without their counts.
#[must_use]
pub fn without_rows(chart: &Chart) -> Chart {
    let mut rest = Chart {
        schema: chart.schema.clone(),
        cluster: chart.cluster.clone(),
        node: chart.node.clone(),
        time: chart.time.clone(),
        as_of: chart.as_of.clone(),
        started_at: chart.started_at.clone(),
        rows: Vec::new(),
        declared: chart.declared.clone(),
        totals: beyond(&chart.totals, &chart.rows),
        missing: chart.missing.clone(),
    };
    fill(&mut rest, Vec::new(), 0);
    rest
}

/// Returns the counts of what a chart counts beside its rows.
pub(super) fn beyond(totals: &ChartTotals, rows: &[ChartRow]) -> ChartTotals {
    let mut listed = ChartTotals::default();
    count(&mut listed, rows.iter().filter(|row| row.code.is_some()));
    let open = totals.open.iter().map(|(severity, count)| {
        (severity.clone(), count.saturating_sub(listed.open.get(severity).copied().unwrap_or_default()))
    });
    ChartTotals {
        open: open.filter(|(_, count)| *count > 0).collect(),
        suppressed: totals.suppressed.saturating_sub(listed.suppressed),
        findings: totals.findings.saturating_sub(listed.findings),
        ..totals.clone()
    }
}
