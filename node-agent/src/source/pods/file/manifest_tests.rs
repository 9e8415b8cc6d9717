//! Manifests as people write them, and as they get them wrong.

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
    let pods = parse(DEMO).expect("valid");
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
fn workloads_lists_and_json_give_pods_and_other_kinds_are_skipped() {
    let text = "\
# a comment
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {ports: [{port: 80}], template: 5}
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
- {kind: Service, metadata: {name: other}}
";
    let pods = parse(text).expect("valid");
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["web", "tick", "in-list"]);
    assert_eq!(pods[0].netns_path.as_deref(), Some("/run/netns/x"));
    assert_eq!(pods[0].workload.as_ref().map(|workload| workload.kind.as_str()), Some("Deployment"));
    assert_eq!(pods[2].uid.0, "u-1");
    let json = "{\n\t\"kind\": \"PodList\",\n\t\"items\": [{\"metadata\": {\"name\": \"j\"}, \"spec\": {\"containers\": [{\"name\": \"a\"}]}}]\n}\n";
    assert_eq!(parse(json).expect("valid").len(), 1);
    assert_eq!(parse("").expect("valid").len(), 0);
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
    fn no_broken_manifest_makes_it_panic(cut in 0..DEMO.len(), put in "[-:{}\\[\\]&*!|>'\"%@\n\t 0-9a-z]{0,12}") {
        let (head, tail) = DEMO.split_at(cut);
        let _any = parse(&format!("{head}{put}{tail}"));
    }
}
