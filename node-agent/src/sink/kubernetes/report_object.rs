//! A pod's findings as an OpenReports `Report` (openreports.io/v1alpha1): at most so many results, the worst first, the rest
//! in the summary.

use std::cmp::Reverse;

use portolan_engine::model::finding::FindingState;
use serde_json::{Map, Value, json};

use super::line::{Line, PolicyResult};
use super::place::Place;
use crate::kubernetes_api::access::{Verb, Write};
use crate::sink::convert::Wall;

/// Results of one report at most.
pub const MAX_RESULTS: usize = 64;
/// Where reports are.
const GROUP: &str = "/apis/openreports.io/v1alpha1";
/// Says how many results did not fit.
const NOT_LISTED: &str = "portolan.dev/results-not-listed";
/// Characters of a label's value.
const MAX_LABEL: usize = 63;

/// Who writes reports, and which clock they show.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    pub node: &'a str,
    pub wall: Wall,
}

/// How many findings of a pod count how.
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

/// The report of a pod: what is known of its findings, and how many there are in all. Without any it says that there are
/// none.
#[must_use]
pub fn report(author: Author<'_>, pod: &Place, lines: &[&Line], summary: Summary) -> Write {
    let name = format!("portolan-{}", pod.uid.0);
    let mut sorted = lines.to_vec();
    sorted.sort_by_key(|line| (Reverse(line.rank()), line.port, line.protocol));
    let Summary { fail, warn, skip } = summary;
    let all = fail + warn + skip;
    let results: Vec<Value> = match all {
        0 => vec![json!({
            "source": "portolan", "policy": "declared-ports", "result": "pass",
            "message": "no port of this pod is other than its manifest says",
        })],
        _ => sorted.iter().take(MAX_RESULTS).map(|line| result(author, line)).collect(),
    };
    let mut metadata = json!({
        "name": name,
        "namespace": pod.namespace,
        "labels": {"app.kubernetes.io/managed-by": "portolan", "portolan.dev/node": label(author.node)},
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
    Write { verb: Verb::Apply, uri, object: object.to_string().into_bytes() }
}

fn result(author: Author<'_>, line: &Line) -> Value {
    let nanos = author.wall.unix_ns_at_boot.saturating_add(i128::from(line.first_seen.0));
    let mut result = json!({
        "source": "portolan",
        "policy": line.code.as_str(),
        "category": "Network",
        "result": line.result().as_str(),
        "severity": line.severity().as_str(),
        "scored": line.state == FindingState::Open,
        "message": line.message,
        "timestamp": {
            "seconds": i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
            "nanos": i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
        },
        "properties": properties(line),
    });
    if let (Some(result), Some(port), Some(protocol)) = (result.as_object_mut(), line.port, line.protocol) {
        result.insert("rule".to_owned(), json!(format!("{port}/{protocol}")));
    }
    result
}

/// All values are texts.
fn properties(line: &Line) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut add = |key: &str, value: String| properties.insert(key.to_owned(), Value::String(value));
    add("id", line.id.clone());
    add("exposure", line.exposure.as_str().to_owned());
    add("policyVerdict", line.policy.as_str().to_owned());
    add("connections", line.connections.to_string());
    add("peers", format!("{}{}", line.peers, if line.more_peers { "+" } else { "" }));
    if let Some(port) = line.port {
        add("port", port.to_string());
    }
    if let Some(protocol) = line.protocol {
        add("protocol", protocol.as_str().to_owned());
    }
    if let Some(process) = &line.process {
        add("process", process.clone());
    }
    if let Some(container) = &line.container {
        add("container", container.clone());
    }
    if !line.origins.is_empty() {
        add("origins", line.origins.iter().copied().collect::<Vec<_>>().join(","));
    }
    properties
}

/// A node's name as the value of a label, which may be shorter than a name.
#[must_use]
pub fn label(node: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let short: String = node.chars().filter(fits).take(MAX_LABEL).collect();
    short.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}
