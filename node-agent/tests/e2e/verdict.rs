//! Checks the findings of the example, from any source.

use std::collections::BTreeMap;

use portolan_report::wire::{Finding, Report};
use serde_json::Value;

use super::example::{APP, CURLER, DECLARED, UNDECLARED};

/// Ids of findings, by port.
pub type Ids = BTreeMap<u16, String>;

/// Returns the latest state of each finding in an agent's log. Lines that are not JSON objects are diagnostics.
///
/// # Errors
/// If a line that begins as an object is not a report.
pub fn in_log(log: &str) -> Result<Vec<Finding>, String> {
    let mut last = BTreeMap::new();
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let report: Report = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        if let Report::Finding(finding) = report {
            last.insert(finding.id.clone(), finding);
        }
    }
    Ok(last.into_values().collect())
}

/// Returns the findings of a list, as the API and `-o json` of the clients write it.
///
/// # Errors
/// If the text is not such a list.
pub fn in_list(text: &str) -> Result<Vec<Finding>, String> {
    let list: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let items = list["items"].as_array().ok_or_else(|| format!("no items: {text}"))?;
    let finding = |item: &Value| match serde_json::from_value(item.clone()) {
        Ok(Report::Finding(finding)) => Ok(finding),
        Ok(_) => Err(format!("no finding: {item}")),
        Err(error) => Err(format!("{error}: {item}")),
    };
    items.iter().map(finding).collect()
}

/// Returns the ids of the example's findings, if all are there and correct.
///
/// # Errors
/// Which finding is missing or wrong.
pub fn of_example(findings: &[Finding], namespace: &str) -> Result<Ids, String> {
    let is_app = |finding: &&Finding| {
        let pod = finding.pod.as_ref();
        finding.state == "open" && pod.is_some_and(|pod| pod.namespace == namespace && pod.name == APP)
    };
    let open: Vec<&Finding> = findings.iter().filter(is_app).collect();
    let of_port = |port: u16| open.iter().filter(move |finding| finding.port == Some(port));
    if let Some(wrong) = of_port(DECLARED).next() {
        return Err(format!("port {DECLARED} is declared, and yet: {}", wrong.message));
    }
    let mut ids = Ids::new();
    for port in UNDECLARED {
        let found: Vec<_> = of_port(port).collect();
        let [finding] = found.as_slice() else {
            return Err(format!("{} open findings of {namespace}/{APP} on port {port}", found.len()));
        };
        called_by_curler(finding, namespace)?;
        ids.insert(port, finding.id.clone());
    }
    Ok(ids)
}

fn called_by_curler(finding: &Finding, namespace: &str) -> Result<(), String> {
    let summary = (finding.code.as_str(), finding.severity.as_str(), finding.protocol.as_deref());
    if summary != ("undeclared-active", "high", Some("TCP")) {
        return Err(format!("{summary:?}: {}", finding.message));
    }
    let curler = format!("{namespace}/{CURLER}");
    let peers = &finding.traffic.peers;
    let is_curler = peers.iter().any(|peer| {
        peer.reference.as_deref() == Some(curler.as_str()) && peer.origin == "pod" && peer.connections > 0
    });
    if is_curler { Ok(()) } else { Err(format!("{curler} is not among the peers: {peers:?}")) }
}
