//! A pod's findings as an OpenReports `Report` (openreports.io/v1alpha1): at most [`MAX_RESULTS`] results, the worst first.
//! The summary counts the rest.

use std::cmp::Reverse;

use portolan_engine::model::finding::FindingState;
use serde_json::{Map, Value, json};

use super::object_ref::ObjectRef;
use super::report_entry::{PolicyResult, ReportEntry};
use crate::kubernetes_api::access::{ObjectWrite, WriteVerb};
use crate::sink::convert::{AgentIdentity, Wall};

/// Maximum number of results in one report.
pub const MAX_RESULTS: usize = 64;
/// Path of the API group of reports.
const GROUP: &str = "/apis/openreports.io/v1alpha1";
/// Annotation with the number of results beyond [`MAX_RESULTS`].
const NOT_LISTED: &str = "portolan.dev/results-not-listed";
/// Maximum length of a label's value in characters.
const MAX_LABEL: usize = 63;

/// The writing agent, and its wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    pub agent: &'a AgentIdentity,
    pub wall: Wall,
}

/// Number of a pod's findings by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Summary {
    fail: usize,
    warn: usize,
    skip: usize,
}

impl FromIterator<PolicyResult> for Summary {
    fn from_iter<I: IntoIterator<Item = PolicyResult>>(results: I) -> Self {
        let mut summary = Self::default();
        for result in results {
            match result {
                PolicyResult::Fail => summary.fail += 1,
                PolicyResult::Warn => summary.warn += 1,
                PolicyResult::Skip => summary.skip += 1,
            }
        }
        summary
    }
}

/// Returns the write of a pod's report. `summary` counts all findings, also those that are not among `entries`. Without any
/// finding the report has one result, `pass`.
#[must_use]
pub fn report(
    author: Author<'_>,
    pod: &ObjectRef,
    entries: &[&ReportEntry],
    summary: Summary,
) -> ObjectWrite {
    let name = format!("portolan-{}", pod.uid.0);
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|entry| (Reverse(entry.rank()), entry.port, entry.protocol));
    let Summary { fail, warn, skip } = summary;
    let all = fail + warn + skip;
    let results: Vec<Value> = match all {
        0 => vec![json!({
            "source": "portolan", "policy": "declared-ports", "result": "pass",
            "message": "no port of this pod is other than its manifest says",
        })],
        _ => sorted.iter().take(MAX_RESULTS).map(|entry| result(author, entry)).collect(),
    };
    let mut metadata = json!({
        "name": name,
        "namespace": pod.namespace,
        "labels": {"app.kubernetes.io/managed-by": "portolan", "portolan.dev/node": label(&author.agent.node)},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid.0}],
    });
    let not_listed = all.saturating_sub(results.len());
    if let (Some(metadata), 1..) = (metadata.as_object_mut(), not_listed) {
        metadata.insert("annotations".to_owned(), json!({NOT_LISTED: not_listed.to_string()}));
    }
    let object = json!({
        "apiVersion": "openreports.io/v1alpha1",
        "kind": "Report",
        "metadata": metadata,
        "source": "portolan",
        "scope": {
            "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid.0
        },
        "configuration": {"limits": {"maxResults": MAX_RESULTS}},
        "summary": {"pass": usize::from(all == 0), "fail": fail, "warn": warn, "error": 0, "skip": skip},
        "results": results,
    });
    let uri = format!("{GROUP}/namespaces/{}/reports/{name}?fieldManager=portolan&force=true", pod.namespace);
    ObjectWrite { verb: WriteVerb::Apply, uri, object: object.to_string().into_bytes() }
}

fn result(author: Author<'_>, entry: &ReportEntry) -> Value {
    let nanos = author.wall.unix_ns_at_boot.saturating_add(i128::from(entry.first_seen.0));
    let mut result = json!({
        "source": "portolan",
        "policy": entry.code.as_str(),
        "category": "Network",
        "result": entry.result().as_str(),
        "severity": entry.severity().as_str(),
        "scored": entry.state == FindingState::Open,
        "message": entry.message,
        "timestamp": {
            "seconds": i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
            "nanos": i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
        },
        "properties": properties(author, entry),
    });
    if let (Some(result), Some(port), Some(protocol)) = (result.as_object_mut(), entry.port, entry.protocol) {
        result.insert("rule".to_owned(), json!(format!("{port}/{protocol}")));
    }
    result
}

/// Returns the properties of a result. The schema allows only texts.
fn properties(author: Author<'_>, entry: &ReportEntry) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut add = |key: &str, value: String| properties.insert(key.to_owned(), Value::String(value));
    add("id", entry.id.clone());
    add("fingerprint", entry.fingerprint.clone());
    if let Some(cluster) = &author.agent.cluster {
        add("cluster", cluster.to_string());
    }
    add("exposure", entry.exposure.as_str().to_owned());
    add("policyVerdict", entry.policy.as_str().to_owned());
    add("connections", entry.connections.to_string());
    add("peers", format!("{}{}", entry.peers, if entry.more_peers { "+" } else { "" }));
    if let Some(port) = entry.port {
        add("port", port.to_string());
    }
    if let Some(protocol) = entry.protocol {
        add("protocol", protocol.as_str().to_owned());
    }
    if let Some(process) = &entry.process {
        add("process", process.clone());
    }
    if let Some(container) = &entry.container {
        add("container", container.clone());
    }
    if !entry.origins.is_empty() {
        add("origins", entry.origins.iter().copied().collect::<Vec<_>>().join(","));
    }
    properties
}

/// Converts a node's name to a valid label value, which can be shorter than a name.
#[must_use]
pub fn label(node: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let short: String = node.chars().filter(fits).take(MAX_LABEL).collect();
    short.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}
