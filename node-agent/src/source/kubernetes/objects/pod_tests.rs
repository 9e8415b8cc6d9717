//! Tests of reading pods, valid and invalid.

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::pod::{PortRef, ProbeHandler};

use serde_json::json;

use super::*;
use crate::source::kubernetes::objects::fault::parse;
use crate::source::kubernetes::objects::object::Object;

fn read(json: &str) -> Result<Option<Pod>, Fault> {
    let Object { metadata, spec, status } = parse(&mut serde_json::Deserializer::from_str(json))?;
    super::pod(metadata.0, spec, status, &mut Cuts::default())
}

fn pod(json: &str) -> Pod {
    read(json).expect("a valid pod").expect("a pod that has not ended")
}

const WEB: &str = r#"{"metadata":{"namespace":"shop","name":"web-6d4b75cb6d-x","uid":"u1",
    "labels":{"app":"web","pod-template-hash":"6d4b75cb6d"},
    "annotations":{"prometheus.io/port":"9100","kubectl.kubernetes.io/last-applied-configuration":"{}",
      "sidecar.istio.io/inject":"true","notistio.io/x":"y"},
    "ownerReferences":[{"kind":"ReplicaSet","name":"web-6d4b75cb6d","controller":true}]},
  "spec":{"nodeName":"node-1","containers":[{"name":"app","image":"web:1",
      "ports":[{"containerPort":8080,"name":"http"},{"containerPort":53,"protocol":"UDP","hostPort":53}],
      "livenessProbe":{"httpGet":{"port":"http"}},"readinessProbe":{"tcpSocket":{"port":8081}},
      "startupProbe":{"grpc":{"port":9000}},
      "lifecycle":{"preStop":{"httpGet":{"port":"8082"}},"postStart":{"httpGet":{"port":1,"host":"10.1.1.1"}}}}],
    "initContainers":[{"name":"proxy","restartPolicy":"Always","ports":[{"containerPort":15001}]},{"name":"init"}],
    "ephemeralContainers":[{"name":"debug"}]},
  "status":{"phase":"Running","podIP":"10.1.0.5","podIPs":[{"ip":"10.1.0.5"},{"ip":"fd00::5"}],
    "conditions":[{"type":"ContainersReady","status":"False"}],
    "containerStatuses":[{"name":"app","containerID":"containerd://abc","ready":true,"state":{"running":{"startedAt":"x"}}}],
    "initContainerStatuses":[{"name":"init","containerID":"containerd://def","state":{"terminated":{}}}]}}"#;

#[test]
fn identity_workload_labels_and_annotations() {
    let pod = pod(WEB);
    assert_eq!(
        (pod.uid.0.as_str(), pod.namespace.as_str(), pod.name.as_str()),
        ("u1", "shop", "web-6d4b75cb6d-x")
    );
    let workload = pod.workload.expect("a workload");
    assert_eq!((workload.kind.as_str(), workload.name.as_str()), ("Deployment", "web"));
    let keys: Vec<_> = pod.annotations.keys().map(String::as_str).collect();
    assert_eq!(keys, ["prometheus.io/port", "sidecar.istio.io/inject"]);
    assert_eq!(pod.addresses.len(), 2);
    assert_eq!(pod.ready, Some(false));
}

#[test]
fn containers_ports_and_probes() {
    let pod = pod(WEB);
    let kinds: Vec<_> =
        pod.containers.iter().map(|c| (c.name.as_str(), c.kind, c.running, c.id.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("app", ContainerKind::Regular, Some(true), "abc"),
            ("proxy", ContainerKind::Sidecar, None, ""),
            ("init", ContainerKind::Init, Some(false), "def"),
            ("debug", ContainerKind::Ephemeral, None, ""),
        ]
    );
    let app = &pod.containers[0];
    let ports: Vec<_> = app.ports.iter().map(|port| (port.port.get(), port.protocol)).collect();
    assert_eq!(ports, [(8080, Protocol::Tcp), (53, Protocol::Udp)]);
    assert_eq!(app.ports[1].host_port.map(std::num::NonZeroU16::get), Some(53));
    let number = |n: u16| PortRef::Number(n.try_into().expect("a port"));
    let probes: Vec<_> = app.probes.iter().map(|probe| (probe.handler, probe.port.clone())).collect();
    assert_eq!(
        probes,
        [
            (ProbeHandler::Liveness, PortRef::Name("http".to_owned())),
            (ProbeHandler::Readiness, number(8081)),
            (ProbeHandler::Startup, number(9000)),
            (ProbeHandler::PreStop, number(8082)),
        ]
    );
}

#[test]
fn a_static_pod_goes_by_kubelets_hash_and_keeps_its_mirror() {
    let json = |owner: &str, node: &str, hash: &str| {
        format!(
            r#"{{"metadata":{{"namespace":"kube-system","name":"etcd-node-1","uid":"mirror-uid","annotations":{{
                "kubernetes.io/config.hash":"{hash}","kubernetes.io/config.mirror":"{hash}"}},
                "ownerReferences":[{{"kind":"{owner}","name":"{node}","controller":true}}]}},
                "spec":{{"nodeName":"node-1","hostNetwork":true,"containers":[{{"name":"etcd"}}]}}}}"#
        )
    };
    let hash = "0123456789abcdef0123456789abcdef";
    let mirror = pod(&json("Node", "node-1", hash));
    assert_eq!(mirror.uid.0, hash);
    assert_eq!(mirror.mirror, Some(PodUid("mirror-uid".to_owned())));
    assert!(mirror.host_network);
    let victim = "6f1d9f0e-3c1b-4a53-8f6e-0b6f5a3c9d21";
    for (owner, node, claimed) in
        [("ReplicaSet", "node-1", hash), ("Node", "node-2", hash), ("Node", "node-1", victim)]
    {
        let forged = pod(&json(owner, node, claimed));
        assert_eq!((forged.uid.0.as_str(), forged.mirror), ("mirror-uid", None), "{owner} {node} {claimed}");
    }
}

#[test]
fn a_pod_without_a_status_is_a_pod_of_which_little_is_known() {
    let pod = pod(r#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}}"#);
    assert_eq!((pod.ready, pod.service_ready, pod.draining), (None, None, false));
    assert_eq!((pod.namespace.as_str(), pod.uid.0.as_str()), ("default", "manifest/pod/default/a"));
    assert_eq!((pod.addresses.len(), pod.containers[0].running), (0, None));
}

#[test]
fn a_pod_that_has_ended_is_nothing() {
    for (phase, ended) in [("Succeeded", true), ("Failed", true), ("Running", false), ("Unknown", false)] {
        let json = format!(
            r#"{{"metadata":{{"name":"a"}},"spec":{{"containers":[{{"name":"c"}}]}},"status":{{"phase":"{phase}"}}}}"#
        );
        assert_eq!(read(&json).expect("valid").is_none(), ended, "{phase}");
    }
}

#[test]
fn labels_that_cannot_be_understood_are_no_labels_fewer() {
    let long = "x".repeat(64);
    for (labels, then) in [
        (r#"{"a":1}"#.to_owned(), "metadata.labels.a is 1: expected a text"),
        (r#"{"a":["b"]}"#.to_owned(), "metadata.labels.a is a list: expected a text"),
        (format!(r#"{{"a":"{long}"}}"#), "metadata.labels.a has more than 63 characters"),
    ] {
        let json = format!(
            r#"{{"metadata":{{"name":"a","labels":{labels}}},"spec":{{"containers":[{{"name":"c"}}]}}}}"#
        );
        assert_eq!(read(&json).expect_err("refused").to_string(), then);
    }
    let pod = pod(r#"{"metadata":{"name":"a","labels":{"a":null}},"spec":{"containers":[{"name":"c"}]}}"#);
    assert_eq!(pod.labels.get("a").map(String::as_str), Some(""));
}

#[test]
fn ports_in_the_nodes_network_are_ports_of_the_node() {
    let pod = pod(
        r#"{"metadata":{"name":"a"},"spec":{"hostNetwork":true,"containers":[{"name":"c","ports":[{"containerPort":80}],
            "livenessProbe":{"httpGet":{"port":81,"host":"192.0.2.7"}},"readinessProbe":{"tcpSocket":{"port":82,"host":"127.0.0.1"}},
            "startupProbe":{"tcpSocket":{"port":83,"host":"example.org"}}}]},"status":{"hostIPs":[{"ip":"192.0.2.7"}]}}"#,
    );
    assert_eq!(pod.containers[0].ports[0].host_port.map(Into::into), Some(80_u16));
    let probes: Vec<_> = pod.containers[0].probes.iter().map(|probe| probe.handler).collect();
    assert_eq!(probes, [ProbeHandler::Liveness, ProbeHandler::Readiness]);
}

#[test]
fn what_is_being_deleted_or_gated_is_kept_apart_from_the_containers_readiness() {
    let pod = pod(
        r#"{"metadata":{"name":"a","deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{"name":"c"}]},
            "status":{"conditions":[{"type":"ContainersReady","status":"True"},{"type":"Ready","status":"False"}]}}"#,
    );
    assert_eq!((pod.ready, pod.service_ready, pod.draining), (Some(true), Some(false), true));
}

#[test]
fn ready_without_conditions_is_what_the_containers_say() {
    let json = |ready: &str| {
        format!(
            r#"{{"metadata":{{"name":"a","uid":"u"}},"spec":{{"containers":[{{"name":"x"}},{{"name":"y"}}]}},
                "status":{{"containerStatuses":[{{"name":"x","ready":true}},{{"name":"y","ready":{ready}}}]}}}}"#
        )
    };
    assert_eq!(pod(&json("true")).ready, Some(true));
    assert_eq!(pod(&json("false")).ready, Some(false));
}

#[test]
fn the_digest_of_the_image_is_that_of_the_repository() {
    let digest = format!("sha256:{}", "a1".repeat(32));
    let of = |image_id: &str| {
        let json = json!({
            "metadata": {"namespace": "shop", "name": "web", "uid": "u1"},
            "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "web:1"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "app", "imageID": image_id}]},
        });
        pod(&json.to_string()).containers[0].image_digest.clone()
    };
    assert_eq!(of(&format!("docker.io/library/web@{digest}")), digest);
    for id in [digest.as_str(), "", "web@sha256:short", "web@sha256:\u{1b}[2J", &format!("web@{digest} ")] {
        assert_eq!(of(id), "", "{id:?}");
    }
}
