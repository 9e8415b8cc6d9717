//! Parses what kubelet writes into the annotations of the runtime's containers (declared ports, the preStop handler), and
//! selects the pod annotations that the agent reads. Anybody who may start containers can write them: invalid entries are
//! skipped and counted.

use std::collections::{BTreeMap, HashMap};

use portolan_engine::model::pod::{DeclaredPort, ProbeHandler, ProbePort};
use serde::Deserialize;
use serde_json::Value;

use crate::source::kubernetes::objects::container::{MAX_PORTS, PortSpec};
use crate::source::kubernetes::objects::metadata::{MAX_ANNOTATION, MAX_ANNOTATIONS, is_read};
use crate::source::kubernetes::objects::probe::{Handler, OwnHosts};

const PORTS: &str = "io.kubernetes.container.ports";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// The parsed annotations of one container.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub ports: Vec<DeclaredPort>,
    pub probes: Vec<ProbePort>,
    /// Number of invalid entries.
    pub invalid: u64,
}

/// Parses a container's annotations. `hosts` are those by which a hook calls the pod itself.
#[must_use]
pub fn declared(annotations: &HashMap<String, String>, hosts: &OwnHosts) -> Declared {
    let mut declared = Declared::default();
    if let Some(text) = annotations.get(PORTS) {
        declared.read_ports(text);
    }
    if let Some(text) = annotations.get(PRE_STOP) {
        match serde_json::from_str::<Option<Handler>>(text) {
            Ok(handler) => {
                let handler = handler.unwrap_or_default();
                declared.probes.extend(handler.calls(ProbeHandler::PreStop, hosts));
            }
            Err(_) => declared.invalid += 1,
        }
    }
    declared
}

/// Returns at most [`MAX_ANNOTATIONS`] of the pod annotations that the agent reads. Leaves out values longer than
/// [`MAX_ANNOTATION`] bytes.
#[must_use]
pub fn selected(annotations: &HashMap<String, String>) -> BTreeMap<String, String> {
    let mut selected: Vec<(&String, &String)> =
        annotations.iter().filter(|(key, value)| is_read(key) && value.len() <= MAX_ANNOTATION).collect();
    selected.sort();
    selected.into_iter().take(MAX_ANNOTATIONS).map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Declared {
    fn read_ports(&mut self, text: &str) {
        let Ok(entries) = serde_json::from_str::<Option<Vec<Value>>>(text) else {
            self.invalid += 1;
            return;
        };
        for (count, entry) in entries.unwrap_or_default().into_iter().enumerate() {
            match PortSpec::deserialize(entry) {
                Ok(port) if count < MAX_PORTS => self.ports.push(port.into()),
                _ => self.invalid += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use portolan_engine::model::identity::Protocol;
    use portolan_engine::model::pod::PortRef;
    use proptest::prelude::*;

    use super::*;

    fn annotated(key: &str, value: &str) -> Declared {
        declared(&[(key.to_owned(), value.to_owned())].into(), &OwnHosts::Pod(Vec::new()))
    }

    fn numbers(declared: &Declared) -> Vec<(u16, Protocol)> {
        declared.ports.iter().map(|port| (port.port.get(), port.protocol)).collect()
    }

    #[test]
    fn ports_are_read_as_kubelet_writes_them() {
        let text = r#"[{"name":"http","hostPort":80,"containerPort":8080,"protocol":"TCP"},
            {"containerPort":53,"protocol":"UDP"},{"containerPort":9,"hostIP":"10.0.0.1","new":{"a":[1]}}]"#;
        let declared = annotated(PORTS, text);
        assert_eq!(numbers(&declared), [(8080, Protocol::Tcp), (53, Protocol::Udp), (9, Protocol::Tcp)]);
        let first = declared.ports.first().expect("a port");
        assert_eq!((first.name.as_deref(), first.host_port.map(NonZeroU16::get)), (Some("http"), Some(80)));
        assert_eq!(declared.invalid, 0);
    }

    #[test]
    fn a_wrong_entry_is_counted_and_the_others_stay() {
        let text = r#"[{"containerPort":0},{"containerPort":65536},{"containerPort":-1},{"containerPort":"80"},
            {"containerPort":80.5},{"containerPort":null},{},7,null,{"containerPort":80,"protocol":"ICMP"},
            {"containerPort":80,"hostPort":70000},{"containerPort":443}]"#;
        let declared = annotated(PORTS, text);
        assert_eq!((numbers(&declared), declared.invalid), (vec![(443, Protocol::Tcp)], 11));
        for (text, invalid) in [("null", 0), ("[]", 0), ("", 1), ("{}", 1), ("[{\"containerPort\":80", 1)] {
            assert_eq!(annotated(PORTS, text), Declared { invalid, ..Declared::default() }, "{text}");
        }
        let many = format!("[{}]", vec![r#"{"containerPort":80}"#; MAX_PORTS + 2].join(","));
        let declared = annotated(PORTS, &many);
        assert_eq!((declared.ports.len(), declared.invalid), (MAX_PORTS, 2));
    }

    #[test]
    fn the_pre_stop_handler_calls_a_port_by_number_or_name() {
        for (text, port) in [
            (r#"{"httpGet":{"path":"/x","port":8080,"scheme":"HTTP"}}"#, Some("8080")),
            (r#"{"httpGet":{"port":"quit"}}"#, Some("quit")),
            (r#"{"tcpSocket":{"port":"8081"}}"#, Some("8081")),
            (r#"{"exec":{"command":["sh"]}}"#, None),
            ("null", None),
        ] {
            let declared = annotated(PRE_STOP, text);
            let found = declared.probes.first().map(|probe| match &probe.port {
                PortRef::Number(number) => number.to_string(),
                PortRef::Name(name) => name.clone(),
            });
            assert_eq!((found.as_deref(), declared.invalid), (port, 0), "{text}");
        }
        for text in [r#"{"httpGet":{"port":0}}"#, r#"{"httpGet":{}}"#, r#"{"tcpSocket":{"port":""}}"#, "x"] {
            assert_eq!(annotated(PRE_STOP, text).invalid, 1, "{text}");
        }
    }

    #[test]
    fn only_annotations_that_are_read_stay() {
        let all = [
            ("prometheus.io/port", "9090"),
            ("portolan.dev/ignore", "x"),
            ("sidecar.istio.io/status", "{}"),
            ("fakeistio.io/x", "1"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
            ("plain", "1"),
        ];
        let long = ("prometheus.io/path".to_owned(), "x".repeat(MAX_ANNOTATION + 1));
        let all: HashMap<String, String> =
            all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).chain([long]).collect();
        let keys: Vec<String> = selected(&all).into_keys().collect();
        assert_eq!(keys, ["portolan.dev/ignore", "prometheus.io/port", "sidecar.istio.io/status"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC*", json in r#"\[(\{"containerPort":-?[0-9]{1,20}\},?){0,5}\]"#) {
            for text in [text, json] {
                annotated(PORTS, &text);
                annotated(PRE_STOP, &text);
            }
        }
    }
}
