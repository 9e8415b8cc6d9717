//! Rows of a chart, made by what a case says of them.

use portolan_report::chart::{Chart, ChartCaller, ChartRow, ChartTotals};
use portolan_report::wire::Workload;

/// Time of the answers.
pub const NOW: &str = "2026-03-04T12:00:00Z";
/// Start of the agent.
pub const STARTED: &str = "2026-03-01T00:00:00Z";

/// Severities, the worst first, each with a code that has it.
pub const CODES: [(&str, &str); 5] = [
    ("critical", "undeclared-external"),
    ("high", "undeclared-active"),
    ("medium", "undeclared-reachable"),
    ("low", "undeclared-blocked"),
    ("info", "undeclared-loopback"),
];

/// Returns a row of a workload `shop/NAME` with a finding of this severity.
pub fn row(name: &str, port: u16, severity: &str) -> ChartRow {
    let code = CODES.iter().find(|(known, _)| *known == severity).expect("a severity").1;
    let is_called = matches!(severity, "critical" | "high");
    ChartRow {
        fingerprint: format!("{name}-{port}"),
        namespace: Some("shop".to_owned()),
        workload: Some(Workload { kind: "Deployment".to_owned(), name: name.to_owned() }),
        pod: Some(format!("{name}-6c9f7d4b8-x7k2p")),
        container: Some("app".to_owned()),
        image: Some("registry.example/app:1".to_owned()),
        port: Some(port),
        protocol: Some("TCP".to_owned()),
        process: Some("node".to_owned()),
        code: Some(code.to_owned()),
        severity: Some(severity.to_owned()),
        state: "open".to_owned(),
        declaration: "undeclared".to_owned(),
        exposure: "pod".to_owned(),
        policy: "not-isolated".to_owned(),
        pods: 1,
        pods_total: Some(1),
        nodes: vec!["node-1".to_owned()],
        attempts: if is_called { 12 } else { 0 },
        connections: if is_called { 12 } else { 0 },
        packets: if is_called { 60 } else { 0 },
        bytes: if is_called { 4800 } else { 0 },
        first_seen: "2026-03-03T09:00:00Z".to_owned(),
        last_seen: is_called.then(|| "2026-03-04T11:58:00Z".to_owned()),
        findings: vec![format!("{name}-x7k2p-tcp-{port}")],
        callers: if is_called { vec![caller(severity)] } else { Vec::new() },
        ..ChartRow::default()
    }
}

fn caller(severity: &str) -> ChartCaller {
    let is_outside = severity == "critical";
    ChartCaller {
        origin: if is_outside { "external" } else { "pod" }.to_owned(),
        namespace: (!is_outside).then(|| "shop".to_owned()),
        workload: (!is_outside)
            .then(|| Workload { kind: "Deployment".to_owned(), name: "curler".to_owned() }),
        pod: (!is_outside).then(|| "curler-7f9c-abcde".to_owned()),
        address: if is_outside { "198.51.100.7" } else { "10.244.0.9" }.to_owned(),
        node: None,
        via: is_outside.then(|| "nodePort".to_owned()),
        connections: 12,
        packets: 60,
    }
}

/// Returns a chart with these rows.
pub fn chart(rows: Vec<ChartRow>) -> Chart {
    let mut chart = Chart {
        schema: "portolan/v1".to_owned(),
        node: Some("node-1".to_owned()),
        time: NOW.to_owned(),
        as_of: "abc-0".to_owned(),
        started_at: STARTED.to_owned(),
        rows,
        totals: ChartTotals { pods: 40, ..ChartTotals::default() },
        ..Chart::default()
    };
    count(&mut chart);
    chart
}

/// Sets the totals to what the rows are.
pub fn count(chart: &mut Chart) {
    let totals = &mut chart.totals;
    totals.open.clear();
    for row in chart.rows.iter().filter(|row| row.state == "open") {
        if let Some(severity) = &row.severity {
            *totals.open.entry(severity.clone()).or_default() += 1;
        }
    }
    let all = u64::try_from(chart.rows.len()).unwrap_or(u64::MAX);
    totals.suppressed = chart.rows.iter().filter(|row| row.state == "suppressed").map(|_| 1).sum();
    totals.findings = chart.rows.iter().filter(|row| row.code.is_some()).map(|row| row.pods).sum();
    totals.listeners = all;
}
