//! Tests of parsing manifests, valid and invalid.

use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::LabelOperator;
use portolan_engine::model::pod::{ContainerKind, PortRef, ProbeHandler};
use portolan_engine::model::service::ServiceKind;
use proptest::prelude::*;

use super::object_name::ObjectName;
use super::*;

fn read_text(text: &str) -> Reading {
    super::parse(Path::new("pods.yaml"), text)
}

/// Returns the objects of a text without a fault.
fn objects(text: &str) -> Objects {
    let reading = read_text(text);
    assert_eq!(reading.faults, [], "{text}");
    reading.objects
}

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

/// Returns the line and the text of the one fault.
fn problem(text: &str) -> (u64, String) {
    let reading = read_text(text);
    let [fault] = reading.faults.as_slice() else { panic!("one fault: {:?}", reading.faults) };
    (fault.line.expect("a line"), fault.problem.clone())
}

#[test]
fn a_pod_keeps_all_that_matters() {
    let pods = objects(DEMO).pods;
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
    assert_eq!(
        problem(text).1,
        "metadata.annotations.portolan.dev/netns is /proc/17/ns/net, which ends with the process: expected a name in /run/netns/ or a path in \
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
    let pods = objects(text).pods;
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["tick", "web", "in-list"]);
    assert_eq!(pods[1].netns_path.as_deref(), Some("/run/netns/x"));
    assert_eq!(pods[1].workload.as_ref().map(|workload| workload.kind.as_str()), Some("Deployment"));
    assert_eq!(pods[2].uid.0, "u-1");
    let json = "{\n\t\"kind\": \"PodList\",\n\t\"items\": [{\"metadata\": {\"name\": \"j\"}, \"spec\": {\"containers\": [{\"name\": \"a\"}]}}]\n}\n";
    assert_eq!(objects(json).pods.len(), 1);
    assert_eq!(objects(""), Objects::default());
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
    kubernetes.io/config.mirror: 0123456789abcdef0123456789abcdef
    prometheus.io/port: \"2381\"
    big: nobody reads it
  ownerReferences: [{kind: Node, name: node-1, controller: true}]
spec:
  nodeName: node-1
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
    let objects = objects(CLUSTER);
    let namespace = objects.namespaces.first().expect("one");
    assert_eq!((namespace.name.as_str(), namespace.annotations.len()), ("shop", 1));
    let [headless, web] = objects.services.as_slice() else { panic!("two") };
    assert_eq!((web.kind, web.addresses.len()), (ServiceKind::NodePort, 3));
    assert_eq!(web.selector.get("app").map(String::as_str), Some("web"));
    let ports: Vec<_> = web.ports.iter().map(|port| (port.protocol, port.target.clone())).collect();
    let number = |port| PortRef::Number(NonZeroU16::new(port).expect("a port"));
    let name = PortRef::Name("http".to_owned());
    assert_eq!(ports[..2], [(Protocol::Tcp, name.clone()), (Protocol::Udp, number(53))]);
    assert_eq!(ports[2], (Protocol::Tcp, number(8443)));
    assert_eq!(web.ports[0].node_port.map(NonZeroU16::get), Some(32_264));
    assert_eq!(headless.kind, ServiceKind::Headless);
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
    let objects = objects(CLUSTER);
    let pod = objects.pods.first().expect("one");
    assert_eq!(
        (pod.uid.0.as_str(), pod.mirror.as_ref().map(|uid| uid.0.as_str())),
        ("0123456789abcdef0123456789abcdef", Some("api-uid"))
    );
    assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["prometheus.io/port"]);
    assert_eq!((pod.ready, pod.opaque_runtime.as_deref()), (Some(false), Some("kata-qemu")));
    let container = &pod.containers[0];
    assert_eq!((container.id.as_str(), container.running), ("abc", Some(true)));
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
    let (few, all) = (objects(DEMO), objects(CLUSTER));
    assert_eq!(kinds(few.clone().inputs(None)), ["1 pods"]);
    assert_eq!(kinds(all.clone().inputs(None)), ["namespaces", "2 services", "1 policies", "1 pods"]);
    assert_eq!(kinds(all.clone().inputs(Some(&all))), [""; 0]);
    let back = kinds(few.clone().inputs(Some(&all)));
    assert_eq!(back, ["namespaces", "services unknown", "policies unknown", "1 pods"]);
    assert_eq!(kinds(Objects::default().inputs(None)), ["0 pods"]);
}

#[test]
fn what_is_wrong_is_named_with_the_line_of_its_object_and_costs_no_other() {
    let wrong = |from: &str, to: &str| problem(&CLUSTER.replacen(from, to, 1));
    let port = "expected a number from 1 to 65535";
    assert_eq!(wrong("port: 80\n", "port: 0\n"), (4, format!("spec.ports[0].port is 0: {port}")));
    assert_eq!(
        wrong("port: 2381", "port: 0").1,
        format!("spec.containers[0].livenessProbe.httpGet.port is 0: {port} or a port's name")
    );
    let second = format!("---\n# a comment\n{}", DEMO.replace("protocol: UDP", "protocol: HTTP"));
    assert_eq!(
        problem(&second),
        (3, "spec.containers[0].ports[1].protocol is \"HTTP\": expected TCP, UDP or SCTP".to_owned())
    );
    assert_eq!(
        problem(&DEMO.replace("  name: multi-port-app\n", "")),
        (1, "metadata.name is missing".to_owned())
    );
    assert_eq!(
        problem("metadata: {name: a}\n").1,
        "kind is missing: expected a Kubernetes object such as Pod or Deployment"
    );
    for text in ["just a text\n", "- 1\n", "5\n", "kind: Pod\nmetadata:\n  name: [\n"] {
        let what = problem(text).1;
        assert!(!what.contains('\n') && !what.contains("untagged"), "{what}");
    }
    let many = format!(
        "{DEMO}---\nkind: Pod\nmetadata: {{name: b}}\n---\n: [\n---\nkind: Namespace\nmetadata: {{name: shop}}\n"
    );
    let reading = read_text(&many);
    assert_eq!(
        (reading.objects.pods.len(), reading.objects.namespaces.len(), reading.faults.len()),
        (1, 1, 2)
    );
    let named = ObjectName { kind: "Pod".to_owned(), namespace: "default".to_owned(), name: "b".to_owned() };
    assert_eq!(reading.faults[0].object, Some(named));
    assert_eq!(reading.faults[0].to_string(), "pods.yaml:26: Pod default/b: spec is missing");
}

#[test]
fn another_groups_kinds_are_skipped_at_any_depth() {
    let pod = |name: &str| {
        format!(r#"{{"kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"c"}}]}}}}"#)
    };
    let foreign = [
        r#"{"apiVersion":"jaegertracing.io/v1","kind":"Jaeger","metadata":{"name":"j"},"spec":{"ingress":{"enabled":false}}}"#,
        r#"{"apiVersion":"crd.antrea.io/v1beta1","kind":"NetworkPolicy","metadata":{"name":"p"},"spec":{"ingress":5}}"#,
        r#"{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"s"},"spec":{"template":{}}}"#,
        r#"{"apiVersion":"batch.volcano.sh/v1alpha1","kind":"Job","metadata":{},"spec":{"tasks":[]}}"#,
        r#"{"apiVersion":"apps.kruise.io/v1alpha1","kind":"DaemonSet","spec":[]}"#,
        "null",
    ];
    let within = |items: &str| format!(r#"{{"apiVersion":"v1","kind":"List","items":[{items}]}}"#);
    for text in [
        foreign.join("\n---\n") + "\n---\n" + &pod("a"),
        within(&format!("{},{}", foreign.join(","), pod("a"))),
        within(&within(&within(&format!("{},{}", foreign.join(","), pod("a"))))),
        format!(
            "# YAML\nitems: [{},\n  {}]\nkind: List\napiVersion: v1\n",
            within(&foreign.join(",")),
            pod("a")
        ),
    ] {
        let objects = objects(&text);
        assert_eq!(
            (objects.pods.len(), objects.services.len(), objects.policies_known),
            (1, 0, false),
            "{text}"
        );
    }
}

#[test]
fn documents_are_taken_as_kubectl_takes_them() {
    let a = r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}}"#;
    let b = a.replace("\"a\"", "\"b\"");
    for text in [
        format!("{a}{b}"),
        format!("{a}\n\n{b}\n"),
        format!("# a comment\n\n{a}\n{b}\n"),
        format!("{a}\n---\nnull\n---\n~\n---\n# nothing\n---\n{b}\n"),
        format!("\u{feff}{a}\n---\n{b}"),
        format!("# a comment\n{}\n---\n{}", a.replace(',', ",\n\t"), b.replace(',', ",\t# another\n\t")),
        format!("--- # first\n{a}\n--- \n{b}\n...\n"),
        format!("{{\"kind\":\"PodList\",\"items\":[{a},{b},null]}}").replace("\"kind\":\"Pod\",", ""),
        format!("kind: PodList\nitems:\n- {a}\n-\n- {b}\n").replace("\"kind\":\"Pod\",", ""),
        "kind:\tPod\nmetadata:\n  name: a\t# why\n\t\nspec:\n  containers:\n  - name: c\n\t# tab\n---\n"
            .to_owned()
            + &b,
    ] {
        let names: Vec<String> = objects(&text).pods.into_iter().map(|pod| pod.name).collect();
        assert_eq!(names, ["a", "b"], "{text}");
    }
    assert_eq!(objects("kind: List\nitems: null\n"), Objects::default());
}

#[test]
fn a_list_of_ten_thousand_objects_is_read_whole() {
    let items: String = (0..10_000)
        .map(|n| format!("- kind: Pod\n  metadata: {{name: p{n}, labels: {{app: x, n: \"{n}\"}}}}\n  spec: {{containers: [{{name: c, image: i, ports: [{{containerPort: 80}}, {{containerPort: 81}}]}}]}}\n"))
        .collect();
    for text in [
        format!("apiVersion: v1\nitems:\n{items}kind: List\n"),
        format!("a: &a x\nb: [{}]\nkind: List\nitems:\n{items}", "*a, ".repeat(500)),
    ] {
        assert_eq!(objects(&text).pods.len(), 10_000);
    }
}

#[test]
fn a_name_that_the_api_server_would_make_is_made() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: job-}\nspec: {template: {spec: {containers: [{name: c}]}}}\n";
    let names: Vec<String> =
        objects(&format!("{job}---\n{job}")).pods.into_iter().map(|pod| pod.name).collect();
    assert_eq!(names, ["job-generated-1", "job-generated-2"]);
}

#[test]
fn a_template_pod_has_the_templates_labels_alone() {
    let text = "\
kind: CronJob
metadata: {name: a, labels: {app: a}, annotations: {portolan.dev/netns: x, prometheus.io/port: \"1\"}}
spec: {jobTemplate: {metadata: {labels: {app: a}}, spec: {template: {spec: {containers: [{name: c}]}}}}}
";
    let objects = objects(text);
    let pod = objects.pods.first().expect("one");
    assert_eq!(
        (pod.labels.len(), pod.annotations.len(), pod.netns_path.as_deref()),
        (0, 0, Some("/run/netns/x"))
    );
}

#[test]
fn a_bound_object_that_nobody_reads_is_remarked_on() {
    let bound = "metadata: {annotations: {portolan.dev/netns: x}}";
    for (text, then) in [
        (
            format!(
                "apiVersion: apps/v1\nkind: Deploymet\nmetadata: {{name: a}}\nspec: {{template: {{{bound}}}}}\n"
            ),
            "did you mean Deployment?",
        ),
        (
            format!("apiVersion: batch.volcano.sh/v1\nkind: Job\n{bound}\n"),
            "of batch.volcano.sh/v1 is not read",
        ),
        (format!("kind: Namespace\nmetadata: {{name: a, {}", &bound[11..]), "binds nothing"),
    ] {
        let reading = read_text(&text);
        assert_eq!(reading.faults, []);
        assert!(reading.remarks.iter().any(|remark| remark.contains(then)), "{:?}", reading.remarks);
    }
}

#[test]
fn a_policy_that_cannot_be_understood_leaves_the_verdict_open() {
    let text = "kind: NetworkPolicy\nmetadata: {name: p, namespace: \"\"}\nspec: {podSelector: {matchLabels: {app: true}}, ingress: []}\n";
    let reading = read_text(text);
    let [policy] = reading.objects.policies.as_slice() else { panic!("one: {reading:?}") };
    assert_eq!(
        (policy.namespace.as_str(), policy.selector.expressions[0].operator),
        ("default", LabelOperator::Unknown)
    );
    let egress = "kind: NetworkPolicy\nmetadata: {name: p}\nspec: {policyTypes: [Egress]}\n";
    let inputs = objects(egress).inputs(None);
    assert!(
        inputs
            .iter()
            .any(|input| matches!(input, Input::NetworkPolicies(Listing::All(all)) if all.is_empty())),
        "{inputs:?}"
    );
}

#[test]
fn pods_that_name_one_netns_are_left_out_and_named() {
    let pod = |name: &str, netns: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: {name}, annotations: {{portolan.dev/netns: {netns}}}}}\nspec: {{containers: [{{name: c}}]}}\n---\n"
        )
    };
    let reading = read_text(&(pod("a", "x") + &pod("b", "x") + &pod("c", "z")));
    assert_eq!(reading.objects.pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["c"]);
    let faults: Vec<String> = reading.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2);
    assert!(faults[0].starts_with("pods.yaml:1: Pod default/a: the pods default/a and default/b both name the network namespace /run/netns/x"), "{faults:?}");
}

#[test]
fn objects_before_one_that_is_no_json_count() {
    let pod = r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}}"#;
    let reading = read_text(&format!("{pod}\n{{\"kind\":\"Service\",}}\n{pod}"));
    assert_eq!(reading.objects.pods.len(), 1);
    let [fault] = reading.faults.as_slice() else { panic!("one fault: {:?}", reading.faults) };
    assert_eq!(fault.to_string(), "pods.yaml:2: expected a JSON object: this and what follows is not read");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "kind: Pod\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text.push_str("metadata: {name: *a8}\n");
    let what = problem(&text).1;
    assert!(!what.contains("breached"), "{what}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _any = read_text(&text);
    }

    #[test]
    fn no_broken_cluster_makes_it_panic(cut in 0..CLUSTER.len(), put in "[-:{}\\[\\]&*!|>'\"%@\n\t 0-9a-z]{0,12}") {
        let (head, tail) = CLUSTER.split_at(cut);
        let _any = read_text(&format!("{head}{put}{tail}"));
    }

    #[test]
    fn no_broken_manifest_makes_it_panic(cut in 0..DEMO.len(), put in "[-:{}\\[\\]&*!|>'\"%@\n\t 0-9a-z]{0,12}") {
        let (head, tail) = DEMO.split_at(cut);
        let _any = read_text(&format!("{head}{put}{tail}"));
    }
}
