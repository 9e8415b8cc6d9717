//! Tests of parsing manifests, valid and invalid.

use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::LabelOperator;
use portolan_engine::model::pod::{ContainerKind, PortRef, ProbeHandler};
use portolan_engine::model::service::ServiceKind;
use proptest::prelude::*;

use super::*;

const DEMO: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: multi-port-app
  namespace: demo
  labels: {app: web}
  annotations:
    portolan.dev/netns: pod-a
spec:
  containers:
  - name: app
    image: python:3
    ports:
    - containerPort: 8080
      name: http
    - {containerPort: 53, protocol: UDP, hostPort: 5353}
  initContainers:
  - name: mesh
    restartPolicy: Always
    ports: [{containerPort: 15001}]
  - name: setup
status:
  podIP: 10.0.0.5
  podIPs: [{ip: 10.0.0.5}, {ip: \"fd00::5\"}]
";

fn problem(text: &str) -> (u64, String) {
    let error = parse(text).expect_err("must be refused");
    (error.line, error.problem)
}

#[test]
fn a_pod_keeps_all_that_matters() {
    let pods = parse(DEMO).expect("valid").pods;
    let pod = pods.first().expect("one pod");
    assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("demo", "multi-port-app"));
    assert_eq!(pod.uid.0, "manifest/pod/demo/multi-port-app");
    assert_eq!(pod.netns_path.as_deref(), Some("/run/netns/pod-a"));
    assert_eq!(pod.addresses.len(), 2);
    let kinds: Vec<ContainerKind> = pod.containers.iter().map(|container| container.kind).collect();
    assert_eq!(kinds, [ContainerKind::Regular, ContainerKind::Sidecar, ContainerKind::Init]);
    let ports: Vec<(u16, Protocol, Option<u16>)> = pod.containers[0]
        .ports
        .iter()
        .map(|port| (port.port.get(), port.protocol, port.host_port.map(NonZeroU16::get)))
        .collect();
    assert_eq!(ports, [(8080, Protocol::Tcp, None), (53, Protocol::Udp, Some(5353))]);
}

#[test]
fn a_netns_is_not_named_by_a_process_which_may_end() {
    let text = "kind: Pod
metadata: {name: web, annotations: {portolan.dev/netns: /proc/17/ns/net}}
spec: {containers: [{name: a}]}
";
    let problem = parse(text).expect_err("refused").problem;
    assert_eq!(
        problem,
        "portolan.dev/netns of Pod web is /proc/17/ns/net, which ends with the process: expected a name in /run/netns/ or a path in \
         a directory of --netns-dir"
    );
}

#[test]
fn workloads_lists_and_json_give_pods_and_other_kinds_are_skipped() {
    let text = "\
# a comment
---
apiVersion: v1
kind: ConfigMap
metadata: {name: s}
spec: {ports: 80, template: 5}
---
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}, annotations: {portolan.dev/netns: /var/run/netns/x}}
    spec:
      containers: [{name: a, ports: [{containerPort: 80}]}]
---
kind: CronJob
metadata: {name: tick}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}
---
kind: List
items:
- kind: Pod
  metadata: {name: in-list, uid: u-1}
  spec: {containers: [{name: a}]}
- {kind: ConfigMap, metadata: {name: other}, data: {a: b}}
";
    let pods = parse(text).expect("valid").pods;
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["web", "tick", "in-list"]);
    assert_eq!(pods[0].netns_path.as_deref(), Some("/run/netns/x"));
    assert_eq!(pods[0].workload.as_ref().map(|workload| workload.kind.as_str()), Some("Deployment"));
    assert_eq!(pods[2].uid.0, "u-1");
    let json = "{\n\t\"kind\": \"PodList\",\n\t\"items\": [{\"metadata\": {\"name\": \"j\"}, \"spec\": {\"containers\": [{\"name\": \"a\"}]}}]\n}\n";
    assert_eq!(parse(json).expect("valid").pods.len(), 1);
    assert_eq!(parse("").expect("valid"), Objects::default());
}

const CLUSTER: &str = "\
kind: Namespace
metadata: {name: shop, labels: {team: a}, annotations: {portolan.dev/exempt: \"x\", other: \"y\"}}
---
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, \"fd00::7\"]
  selector: {app: web}
  ports:
  - port: 80
    targetPort: http
    nodePort: 32264
  - {name: dns, port: 53, protocol: UDP}
  - {port: 443, targetPort: 8443}
status: {loadBalancer: {ingress: [{ip: 192.0.2.5}]}}
---
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, ports: [{port: 1}]}
---
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: web}
    matchExpressions:
    - {key: tier, operator: In, values: [a, b]}
    - {key: tier, operator: Wild}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}]
    ports: [{port: 8000, endPort: 8080}, {port: http, protocol: UDP}, {protocol: SCTP}]
  - {}
---
kind: NetworkPolicy
metadata: {name: egress}
spec: {podSelector: {}, policyTypes: [Egress]}
---
kind: Pod
metadata:
  name: etcd
  namespace: kube-system
  uid: api-uid
  annotations:
    kubernetes.io/config.mirror: 0123abcd
    prometheus.io/port: \"2381\"
    big: nobody reads it
spec:
  runtimeClassName: kata-qemu
  containers:
  - name: etcd
    ports: [{containerPort: 2379, name: client}]
    livenessProbe: {httpGet: {port: 2381}}
    readinessProbe: {tcpSocket: {port: client}}
    startupProbe: {exec: {command: [true]}}
    lifecycle: {preStop: {httpGet: {port: \"8080\"}}}
status:
  conditions: [{type: Ready, status: \"True\"}, {type: ContainersReady, status: \"False\"}]
  containerStatuses: [{name: etcd, containerID: \"containerd://abc\", state: {running: {startedAt: now}}}]
";

#[test]
fn services_policies_and_namespaces_are_told_as_the_api_server_would() {
    let objects = parse(CLUSTER).expect("valid");
    let namespace = objects.namespaces.first().expect("one");
    assert_eq!((namespace.name.as_str(), namespace.annotations.len()), ("shop", 1));
    let web = objects.services.first().expect("two");
    assert_eq!((web.kind, web.addresses.len()), (ServiceKind::NodePort, 3));
    assert_eq!(web.selector.get("app").map(String::as_str), Some("web"));
    let ports: Vec<_> = web.ports.iter().map(|port| (port.protocol, port.target.clone())).collect();
    let number = |port| PortRef::Number(NonZeroU16::new(port).expect("a port"));
    let name = PortRef::Name("http".to_owned());
    assert_eq!(ports[..2], [(Protocol::Tcp, name.clone()), (Protocol::Udp, number(53))]);
    assert_eq!(ports[2], (Protocol::Tcp, number(8443)));
    assert_eq!(web.ports[0].node_port.map(NonZeroU16::get), Some(32_264));
    assert_eq!(objects.services[1].kind, ServiceKind::Headless);
    let [policy] = objects.policies.as_slice() else { panic!("one is about ingress") };
    let operators: Vec<_> = policy.selector.expressions.iter().map(|one| one.operator).collect();
    assert_eq!(operators, [LabelOperator::In, LabelOperator::Unknown]);
    assert_eq!(policy.ingress.iter().map(|rule| rule.peers.len()).collect::<Vec<_>>(), [2, 0]);
    let admitted = &policy.ingress[0].ports;
    assert_eq!(
        (admitted[0].port.clone(), admitted[0].end_port.map(NonZeroU16::get)),
        (Some(number(8000)), Some(8080))
    );
    assert_eq!((admitted[1].port.clone(), admitted[1].protocol), (Some(name), Protocol::Udp));
    assert_eq!((admitted[2].port.clone(), admitted[2].protocol), (None, Protocol::Sctp));
}

#[test]
fn a_pod_keeps_its_probes_its_status_and_what_is_read_of_its_annotations() {
    let objects = parse(CLUSTER).expect("valid");
    let pod = objects.pods.first().expect("one");
    assert_eq!(
        (pod.uid.0.as_str(), pod.mirror.as_ref().map(|uid| uid.0.as_str())),
        ("0123abcd", Some("api-uid"))
    );
    assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["prometheus.io/port"]);
    assert_eq!((pod.ready, pod.opaque_runtime.as_deref()), (Some(false), Some("kata-qemu")));
    let container = &pod.containers[0];
    assert_eq!((container.id.as_str(), container.running), ("containerd://abc", Some(true)));
    let probes: Vec<_> = container.probes.iter().map(|probe| (probe.handler, probe.port.clone())).collect();
    let number = |port| PortRef::Number(NonZeroU16::new(port).expect("a port"));
    let expected = [
        (ProbeHandler::Liveness, number(2381)),
        (ProbeHandler::Readiness, PortRef::Name("client".to_owned())),
        (ProbeHandler::PreStop, number(8080)),
    ];
    assert_eq!(probes, expected);
}

#[test]
fn a_kind_that_manifests_do_not_hold_is_not_told_until_it_was() {
    let kinds = |inputs: Vec<Input>| -> Vec<String> {
        let kind = |input: &Input| match input {
            Input::Pods { pods, .. } => format!("{} pods", pods.len()),
            Input::Services(Listing::All(all)) => format!("{} services", all.len()),
            Input::Services(Listing::Unavailable) => "services unknown".to_owned(),
            Input::NetworkPolicies(Listing::All(all)) => format!("{} policies", all.len()),
            Input::NetworkPolicies(Listing::Unavailable) => "policies unknown".to_owned(),
            Input::Namespaces(_) => "namespaces".to_owned(),
            other => format!("{other:?}"),
        };
        inputs.iter().map(kind).collect()
    };
    let (few, all) = (parse(DEMO).expect("valid"), parse(CLUSTER).expect("valid"));
    assert_eq!(kinds(few.clone().inputs(None)), ["1 pods"]);
    assert_eq!(kinds(all.clone().inputs(None)), ["namespaces", "2 services", "1 policies", "1 pods"]);
    assert_eq!(kinds(all.clone().inputs(Some(&all))), [""; 0]);
    let back = kinds(few.clone().inputs(Some(&all)));
    assert_eq!(back, ["namespaces", "services unknown", "policies unknown", "1 pods"]);
    assert_eq!(kinds(Objects::default().inputs(None)), ["0 pods"]);
}

#[test]
fn what_is_wrong_with_a_service_or_a_policy_is_told_with_its_line() {
    let wrong = |from: &str, to: &str| problem(&CLUSTER.replacen(from, to, 1));
    let port = "expected a number from 1 to 65535";
    assert_eq!(wrong("port: 80\n", "port: 0\n"), (12, format!("port is 0: {port}")));
    assert_eq!(
        wrong("targetPort: http", "targetPort: \"\"").1,
        format!("targetPort is empty: {port} or a port's name")
    );
    assert_eq!(wrong("targetPort: http", "targetPort: 70000"), (13, format!("targetPort is 70000: {port}")));
    assert_eq!(wrong("nodePort: 32264", "nodePort: -1"), (14, format!("nodePort is -1: {port}")));
    assert_eq!(
        wrong("NodePort", "Other"),
        (7, "type is \"Other\": expected ClusterIP, NodePort, LoadBalancer or ExternalName".to_owned())
    );
    assert_eq!(wrong("endPort: 8080", "endPort: 99999").1, format!("endPort is 99999: {port}"));
    assert_eq!(wrong("port: 2381", "port: 0").1, format!("the port of livenessProbe is 0: {port}"));
    assert_eq!(
        wrong("spec: {clusterIP: None, ports: [{port: 1}]}", "spec: {ports: [{name: x}]}").1,
        format!("port is missing: {port}")
    );
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let port = DEMO.replace("containerPort: 8080", "containerPort: 80800");
    assert_eq!(problem(&port), (14, "containerPort is 80800: expected a number from 1 to 65535".to_owned()));
    let second = format!("---\n{}", DEMO.replace("protocol: UDP", "protocol: HTTP"));
    assert_eq!(problem(&second), (17, "protocol is \"HTTP\": expected TCP, UDP or SCTP".to_owned()));
    let name = DEMO.replace("  name: multi-port-app\n", "");
    assert_eq!(problem(&name), (1, "metadata.name is missing: expected the name of the Pod".to_owned()));
    let (line, what) = problem("kind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n");
    assert_eq!((line, what.as_str()), (1, "spec.containers is missing: expected at least one container"));
    let (line, what) = problem("just a text\n");
    assert_eq!(line, 1, "{what}");
    let (line, what) = problem(&DEMO.replace("containerPort: 8080", "containerPort: many"));
    assert_eq!(line, 14, "{what}");
    assert!(!what.contains('\n'), "{what}");
    let (line, what) = problem("kind: Pod\nmetadata:\n  name: [\n");
    assert!(line >= 3, "{line}: {what}");
    let (_, what) = problem("metadata: {name: a}\n");
    assert!(what.starts_with("kind is missing"), "{what}");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "kind: Pod\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text.push_str("metadata: {name: *a8}\n");
    assert!(parse(&text).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _any = parse(&text);
    }

    #[test]
    fn no_broken_cluster_makes_it_panic(cut in 0..CLUSTER.len(), put in "[-:{}\\[\\]&*!|>'\"%@\n\t 0-9a-z]{0,12}") {
        let (head, tail) = CLUSTER.split_at(cut);
        let _any = parse(&format!("{head}{put}{tail}"));
    }

    #[test]
    fn no_broken_manifest_makes_it_panic(cut in 0..DEMO.len(), put in "[-:{}\\[\\]&*!|>'\"%@\n\t 0-9a-z]{0,12}") {
        let (head, tail) = DEMO.split_at(cut);
        let _any = parse(&format!("{head}{put}{tail}"));
    }
}
