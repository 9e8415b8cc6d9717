//! What must have been found of the example, wherever it was read.

use std::collections::BTreeMap;

use portolan_report::wire::{Finding, Report};
use serde_json::Value;

use super::example::{APP, CURLER, DECLARED, UNDECLARED};

/// Ids of the findings, by port.
pub type Ids = BTreeMap<u16, String>;

/// The findings in an agent's log as they are now: each id's last line. What is no object is diagnostics.
///
/// # Errors
/// Where a line that begins as an object is none of ours.
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

/// The findings of a list, as the API and the clients' `-o json` have it.
///
/// # Errors
/// Where it is no such list.
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

/// Whether these are the findings of the example, and their ids.
///
/// # Errors
/// What is not so (yet).
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
    let said = (finding.code.as_str(), finding.severity.as_str(), finding.protocol.as_deref());
    if said != ("undeclared-active", "high", Some("TCP")) {
        return Err(format!("{said:?}: {}", finding.message));
    }
    let curler = format!("{namespace}/{CURLER}");
    let peers = &finding.traffic.peers;
    let is_curler = peers.iter().any(|peer| {
        peer.reference.as_deref() == Some(curler.as_str()) && peer.origin == "pod" && peer.connections > 0
    });
    if is_curler { Ok(()) } else { Err(format!("{curler} is not among the peers: {peers:?}")) }
}
