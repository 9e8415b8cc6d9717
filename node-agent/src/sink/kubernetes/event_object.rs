//! A finding as a Kubernetes Event (events.k8s.io/v1). Fingerprint and code determine the name, so that the API server rejects a
//! second Event of the same workload's port while it keeps the first, which is an hour: that of another pod or node, and that of
//! an agent that restarted.

use portolan_engine::model::identity::BootTime;
use portolan_report::escape::bounded;
use serde_json::{Map, Value, json};

use super::object_ref::ObjectRef;
use super::report_entry::ReportEntry;
use super::report_object::Author;
use crate::kubernetes_api::access::{ObjectWrite, WriteVerb};

/// Maximum size of `note` in bytes at the API server.
const MAX_NOTE: usize = 1024;
/// Maximum size of `reportingInstance` in bytes at the API server.
const MAX_INSTANCE: usize = 128;

/// Returns the write of a finding's Event, with the time `now`.
#[must_use]
pub fn event(author: Author<'_>, pod: &ObjectRef, entry: &ReportEntry, now: BootTime) -> ObjectWrite {
    let reason = camel_case(entry.code.as_str());
    let object = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": format!("portolan.{}.{}", entry.fingerprint, entry.code.as_str()),
            "namespace": pod.namespace,
            "labels": {"app.kubernetes.io/managed-by": "portolan", "portolan.dev/fingerprint": entry.fingerprint},
            "annotations": cluster_annotation(author),
        },
        "eventTime": micro_time(author, now),
        "type": "Warning",
        "reason": reason,
        "action": "Observe",
        "note": bounded(&entry.message, MAX_NOTE).0,
        "regarding": {
            "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid.0
        },
        "reportingController": "portolan.dev/agent",
        "reportingInstance": bounded(&author.agent.node, MAX_INSTANCE).0,
    });
    let uri = format!("/apis/events.k8s.io/v1/namespaces/{}/events?fieldManager=portolan", pod.namespace);
    ObjectWrite { verb: WriteVerb::Create, uri, object: object.to_string().into_bytes() }
}

/// Returns the annotations: the name of the cluster, if it has one.
fn cluster_annotation(author: Author<'_>) -> Map<String, Value> {
    let cluster = author.agent.cluster.iter();
    cluster.map(|cluster| ("portolan.dev/cluster".to_owned(), Value::from(&**cluster))).collect()
}

/// Converts `undeclared-active` to `UndeclaredActive`.
fn camel_case(code: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    code.split('-').map(word).collect()
}

/// Formats RFC 3339 with microseconds, the only format that the API server accepts for `eventTime`.
fn micro_time(author: Author<'_>, at: BootTime) -> String {
    let ns = author.wall.unix_ns_at_boot.saturating_add(i128::from(at.0));
    let timestamp = jiff::Timestamp::from_nanosecond(ns).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{timestamp:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::convert::Wall;

    #[test]
    fn reasons_and_times_are_as_the_api_server_wants_them() {
        assert_eq!(camel_case("undeclared-active"), "UndeclaredActive");
        assert_eq!(camel_case("port-storm"), "PortStorm");
        let author = Author { agent: &"n".into(), wall: Wall { unix_ns_at_boot: 0 } };
        assert_eq!(micro_time(author, BootTime(1_500_000_000)), "1970-01-01T00:00:01.500000Z");
    }
}
