//! A finding as a Kubernetes Event (events.k8s.io/v1). Its name is made of the finding, so that the API server itself
//! refuses a second one while it keeps the first, which is an hour: also across a restart of the agent.

use portolan_engine::model::identity::BootTime;
use portolan_report::escape::bounded;
use serde_json::json;

use super::line::Line;
use super::place::Place;
use super::report_object::Author;
use crate::kubernetes_api::access::{Verb, Write};

/// Bytes of a note, as the API server has it.
const MAX_NOTE: usize = 1024;
/// Bytes of the reporting instance, likewise.
const MAX_INSTANCE: usize = 128;
/// Bytes of a pod's name within an Event's.
const MAX_POD: usize = 190;

/// The Event of a finding, told now.
#[must_use]
pub fn event(author: Author<'_>, pod: &Place, line: &Line, now: BootTime) -> Write {
    let short = pod.name.get(..MAX_POD).unwrap_or(&pod.name).trim_end_matches(['.', '-']);
    let reason = camel_case(line.code.as_str());
    let object = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{short}.{}.{}", line.id, line.code.as_str()),
            "namespace": pod.namespace,
            "labels": {"app.kubernetes.io/managed-by": "portolan"},
        },
        "eventTime": micro_time(author, now),
        "type": "Warning",
        "reason": reason,
        "action": "Observe",
        "note": bounded(&line.message, MAX_NOTE).0,
        "regarding": {
            "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid.0
        },
        "reportingController": "portolan.dev/agent",
        "reportingInstance": bounded(author.node, MAX_INSTANCE).0,
    });
    let uri = format!("/apis/events.k8s.io/v1/namespaces/{}/events?fieldManager=portolan", pod.namespace);
    Write { verb: Verb::Create, uri, object: object.to_string().into_bytes() }
}

/// `undeclared-active` as `UndeclaredActive`.
fn camel_case(code: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    code.split('-').map(word).collect()
}

/// RFC 3339 with microseconds, which the API server takes and nothing else.
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
        let author = Author { node: "n", wall: Wall { unix_ns_at_boot: 0 } };
        assert_eq!(micro_time(author, BootTime(1_500_000_000)), "1970-01-01T00:00:01.500000Z");
    }
}
