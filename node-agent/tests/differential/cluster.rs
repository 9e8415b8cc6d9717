//! Random clusters: valid Kubernetes objects as people and tools write them, with defaults left out, empty values, objects of
//! other groups, and the facts that are observed beside them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// The pods that have a network namespace: names of pod and namespace, number, address.
pub const PODS: [(&str, &str, u64, &str); 2] = [("p0", "ns0", 1, "10.1.0.2"), ("p1", "ns1", 2, "10.1.0.3")];
/// An address outside the cluster that policies admit sometimes, and one that they never do.
pub const OUTSIDERS: [&str; 2] = ["8.8.8.8", "9.9.9.9"];
/// The node's address.
pub const NODE: &str = "10.1.0.1";
const NUMBERS: [u16; 4] = [80, 8080, 9090, 9091];
const NAMES: [&str; 2] = ["http", "metrics"];

/// Objects, and what happens on the node.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub objects: Vec<Value>,
    pub sockets: Vec<Socket>,
}

/// How the objects are written into a file.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// YAML documents, one of which is `null`.
    Documents,
    /// JSON objects, one after the other.
    Concatenated,
    /// One `List`, with another inside.
    Lists,
}

/// A file of manifests: how it is written, and the kind of the workload that makes the second pod, if one does.
#[derive(Clone, Copy, Debug)]
pub struct File {
    pub format: Format,
    pub workload: Option<&'static str>,
}

/// Returns files.
pub fn files() -> impl Strategy<Value = File> {
    let formats = vec![Format::Documents, Format::Concatenated, Format::Lists];
    (select(formats), option::of(select(vec!["Deployment", "DaemonSet", "CronJob", "ReplicaSet"])))
        .prop_map(|(format, workload)| File { format, workload })
}

impl File {
    /// Returns the cluster as the file tells it: a template knows nothing of the pod that is made of it.
    pub fn told(self, mut cluster: Cluster) -> Cluster {
        for pod in cluster.objects.iter_mut().filter(|one| self.is_made(one)).filter_map(Value::as_object_mut)
        {
            pod.remove("status");
            if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("deletionTimestamp");
            }
        }
        cluster
    }

    /// Returns the text of the file.
    pub fn text(self, cluster: &Cluster) -> String {
        let objects = cluster
            .objects
            .iter()
            .map(|one| if self.is_made(one) { self.workload(one) } else { one.clone() });
        let objects: Vec<Value> = objects.collect();
        let list = |items: &[Value]| json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
        match self.format {
            Format::Documents => texts.join("\n---\nnull\n---\n# the next\n"),
            Format::Concatenated => texts.join("\n"),
            Format::Lists => {
                let (first, rest) = objects.split_at(1);
                list(&[first, &[list(rest)]].concat()).to_string()
            }
        }
    }

    fn is_made(self, object: &Value) -> bool {
        self.workload.is_some() && object["kind"] == "Pod" && object["metadata"]["name"] == PODS[1].0
    }

    /// Returns the workload whose template makes the pod. Its own labels and annotations are not those of its pods.
    fn workload(self, pod: &Value) -> Value {
        let kind = self.workload.unwrap_or_default();
        let template = json!({
            "metadata": { "labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"] },
            "spec": pod["spec"],
        });
        let spec = match kind {
            "CronJob" => {
                json!({ "schedule": "* * * * *", "jobTemplate": { "spec": { "template": template } } })
            }
            _ => json!({ "template": template, "selector": { "matchLabels": { "app": "web" } } }),
        };
        let version = if kind == "CronJob" { "batch/v1" } else { "apps/v1" };
        let mut metadata = json!({
            "name": PODS[1].0, "labels": { "app": "web", "tier": "x" }, "annotations": { "prometheus.io/port": "8080" },
        });
        if let Some(namespace) = pod["metadata"].get("namespace") {
            metadata["namespace"] = namespace.clone();
        }
        json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec })
    }
}

/// A port that a pod serves, and who calls it.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Index into [`PODS`].
    pub pod: usize,
    pub protocol: &'static str,
    pub port: u16,
    pub on_loopback: bool,
    /// Addresses; empty for a port on loopback.
    pub callers: Vec<&'static str>,
}

/// Returns clusters of two pods and a few objects that may be about them.
pub fn clusters() -> impl Strategy<Value = Cluster> {
    let pods = (pod(0), pod(1), option::of(finished_pod()));
    let rest = (vec(service(), 0..3), vec(policy(), 0..3), vec(foreign(), 0..2));
    let sockets = vec(socket(), 1..6);
    (pods, rest, sockets).prop_flat_map(
        |((first, second, finished), (services, policies, foreign), sockets)| {
            let mut objects = vec![first, second, namespace("default", "x"), namespace("shop", "y")];
            objects.extend(finished);
            let named = |mut object: Value, name: String| {
                object["metadata"]["name"] = name.into();
                object
            };
            objects.extend(services.into_iter().zip(0..).map(|(one, index)| named(one, format!("s{index}"))));
            objects.extend(policies.into_iter().zip(0..).map(|(one, index)| named(one, format!("n{index}"))));
            objects.extend(foreign);
            Just(objects)
                .prop_shuffle()
                .prop_map(move |objects| Cluster { objects, sockets: sockets.clone() })
        },
    )
}

fn socket() -> impl Strategy<Value = Socket> {
    let callers = select(vec![PODS[0].3, PODS[1].3, OUTSIDERS[0], OUTSIDERS[1], NODE]);
    let place = (0..PODS.len(), select(vec!["TCP", "TCP", "UDP"]), select(NUMBERS.to_vec()));
    (place, prop::bool::weighted(0.2), vec(callers, 0..3)).prop_map(
        |((pod, protocol, port), on_loopback, mut callers)| {
            callers.retain(|caller| !on_loopback && *caller != PODS[pod].3);
            Socket { pod, protocol, port, on_loopback, callers }
        },
    )
}

fn namespace(name: &str, team: &str) -> Value {
    let labels = json!({ "team": team, "kubernetes.io/metadata.name": name });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// Returns the `metadata` of an object of the namespace `default` or `shop`.
fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    select(vec![None, Some(""), Some("default"), Some("shop"), Some("shop")]).prop_map(|namespace| {
        let mut metadata = Map::new();
        metadata.extend(namespace.map(|namespace| ("namespace".to_owned(), namespace.into())));
        metadata
    })
}

fn labels() -> impl Strategy<Value = Value> {
    (option::of(select(vec!["web", "db"])), option::of(select(vec!["x", "y"]))).prop_map(|(app, tier)| {
        let mut labels = Map::new();
        labels.extend(app.map(|app| ("app".to_owned(), app.into())));
        labels.extend(tier.map(|tier| ("tier".to_owned(), tier.into())));
        Value::Object(labels)
    })
}

fn protocol() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some(""), Some("TCP"), Some("UDP"), Some("SCTP")])
}

/// Returns an object of these members, without those that are absent.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect())
}

fn pod(index: usize) -> impl Strategy<Value = Value> {
    let annotations = (option::of(select(vec!["8080", "9090"])), option::of(select(vec!["true", "false"])));
    let spec = (vec(container(), 1..3), vec(init_container(), 0..2), vec(container(), 0..2));
    (metadata(), labels(), annotations, spec, status(index)).prop_map(
        move |(mut metadata, labels, (scraped, scrape), (regular, init, debug), status)| {
            let (name, netns, ..) = PODS[index];
            let (mut status, is_deleted) = status;
            let named = |kind: &str, all: Vec<Value>| -> Value {
                let named = all.into_iter().zip(0..).map(|(mut one, number)| {
                    one["name"] = format!("{kind}{number}").into();
                    one
                });
                named.collect::<Vec<_>>().into()
            };
            let annotations = object([
                ("portolan.dev/netns", Some(netns.into())),
                ("prometheus.io/port", scraped.map(Into::into)),
                ("prometheus.io/scrape", scrape.map(Into::into)),
            ]);
            metadata.insert("name".to_owned(), name.into());
            metadata.insert("uid".to_owned(), format!("uid-{name}").into());
            metadata.insert("labels".to_owned(), labels);
            metadata.insert("annotations".to_owned(), annotations);
            if is_deleted {
                metadata.insert("deletionTimestamp".to_owned(), "2026-11-29T00:00:00Z".into());
            }
            let init = named("init", init);
            let states = init.as_array().into_iter().flatten().filter_map(|one| {
                let state = if one["image"] == "running" { "running" } else { "terminated" };
                Some(json!({ "name": one["name"].as_str()?, "ready": true, "state": { state: {} } }))
            });
            status["initContainerStatuses"] = states.collect::<Vec<_>>().into();
            let spec = json!({
                "containers": named("main", regular), "initContainers": init, "ephemeralContainers": without_ports(named("debug", debug)),
            });
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status })
        },
    )
}

/// A debug container has neither ports nor probes.
fn without_ports(mut containers: Value) -> Value {
    for container in containers.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        ["ports", "livenessProbe", "readinessProbe", "lifecycle"].iter().for_each(|key| {
            container.remove(*key);
        });
    }
    containers
}

/// Returns a pod's status, and whether the pod is being deleted.
fn status(index: usize) -> impl Strategy<Value = (Value, bool)> {
    (select(vec![None, Some(true), Some(false)]), any::<bool>(), prop::bool::weighted(0.15)).prop_map(
        move |(containers_ready, gate, is_deleted)| {
            let conditions = containers_ready.map(|ready| {
                let text = |holds: bool| if holds { "True" } else { "False" };
                json!([
                    { "type": "ContainersReady", "status": text(ready) },
                    { "type": "Ready", "status": text(ready && gate) },
                ])
            });
            let address = PODS[index].3;
            let status = object([
                ("phase", Some("Running".into())),
                ("podIP", Some(address.into())),
                ("podIPs", Some(json!([{ "ip": address }]))),
                ("conditions", conditions),
            ]);
            (status, is_deleted)
        },
    )
}

/// Returns a pod that has ended, with the address that another one has now.
fn finished_pod() -> impl Strategy<Value = Value> {
    (select(vec!["Succeeded", "Failed"]), labels()).prop_map(|(phase, labels)| {
        let metadata = json!({ "name": "done", "uid": "uid-done", "namespace": "shop", "labels": labels });
        let spec = json!({ "containers": [{ "name": "main0", "ports": [{ "containerPort": 9091 }] }] });
        let status = json!({ "phase": phase, "podIP": PODS[1].3, "podIPs": [{ "ip": PODS[1].3 }] });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status })
    })
}

fn container() -> impl Strategy<Value = Value> {
    let hook = select(vec!["postStart", "preStop"]);
    (vec(declared_port(), 0..3), option::of(action()), option::of(action()), option::of((hook, action())))
        .prop_map(|(ports, liveness, readiness, hook)| {
            object([
                ("image", Some("app:1".into())),
                ("ports", (!ports.is_empty()).then(|| with_own_names(ports).into())),
                ("livenessProbe", liveness),
                ("readinessProbe", readiness),
                ("lifecycle", hook.map(|(name, action)| json!({ name: action }))),
            ])
        })
}

/// Names are unique within a container.
fn with_own_names(mut ports: Vec<Value>) -> Vec<Value> {
    let mut known: Vec<String> = Vec::new();
    for port in &mut ports {
        let name = port["name"].as_str().unwrap_or_default().to_owned();
        if known.contains(&name) {
            port.as_object_mut().map(|port| port.remove("name"));
        }
        known.push(name);
    }
    ports
}

fn init_container() -> impl Strategy<Value = Value> {
    let state = select(vec!["running", "ended"]);
    (vec(declared_port(), 0..2), prop::bool::ANY, state).prop_map(|(ports, is_sidecar, state)| {
        object([
            ("image", Some(state.into())),
            ("ports", Some(with_own_names(ports).into())),
            ("restartPolicy", is_sidecar.then(|| "Always".into())),
        ])
    })
}

fn declared_port() -> impl Strategy<Value = Value> {
    (select(NUMBERS.to_vec()), protocol(), option::of(select(NAMES.to_vec()))).prop_map(
        |(port, protocol, name)| {
            object([
                ("containerPort", Some(port.into())),
                ("protocol", protocol.map(Into::into)),
                ("name", name.map(Into::into)),
            ])
        },
    )
}

/// Returns the action of a probe or hook.
fn action() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        select(NUMBERS.to_vec()).prop_map(Value::from),
        select(NUMBERS.to_vec()).prop_map(|number| Value::from(number.to_string())),
        select(NAMES.to_vec()).prop_map(Value::from),
    ];
    let host = select(vec![None, Some(""), Some("example.org"), Some("10.1.0.99"), Some(PODS[0].3)]);
    (port, host, select(vec!["httpGet", "tcpSocket", "exec"])).prop_map(|(port, host, kind)| match kind {
        "exec" => json!({ "exec": { "command": ["true"] } }),
        _ => json!({ kind: object([("port", Some(port)), ("host", host.map(Into::into))]) }),
    })
}

fn service() -> impl Strategy<Value = Value> {
    let kind =
        select(vec![None, Some("ClusterIP"), Some("NodePort"), Some("LoadBalancer"), Some("ExternalName")]);
    let external = prop::bool::weighted(0.15);
    (metadata(), kind, option::of(labels()), vec(service_port(), 1..3), external, any::<bool>()).prop_map(
        |(metadata, kind, selector, ports, external, not_ready)| {
            let spec = object([
                ("type", kind.map(Into::into)),
                ("selector", selector),
                ("ports", Some(ports.into())),
                ("clusterIP", Some("10.96.0.10".into())),
                ("externalIPs", external.then(|| json!(["8.8.4.4"]))),
                ("publishNotReadyAddresses", not_ready.then(|| true.into())),
            ]);
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
        },
    )
}

fn service_port() -> impl Strategy<Value = Value> {
    let target = prop_oneof![
        Just(None),
        Just(Some(json!(0))),
        Just(Some(json!(""))),
        select(NUMBERS.to_vec()).prop_map(|number| Some(number.into())),
        select(NAMES.to_vec()).prop_map(|name| Some(name.into())),
    ];
    (select(NUMBERS.to_vec()), protocol(), target).prop_map(|(port, protocol, target)| {
        object([("port", Some(port.into())), ("protocol", protocol.map(Into::into)), ("targetPort", target)])
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let types = select(vec![
        None,
        Some(json!([])),
        Some(json!(["Ingress"])),
        Some(json!(["Egress"])),
        Some(json!(["Ingress", "Egress"])),
    ]);
    let egress = select(vec![None, Some(json!([])), Some(json!([{}]))]);
    let ingress = option::of(vec(rule(), 0..3));
    (metadata(), label_selector(), types, egress, ingress).prop_map(|(metadata, selector, types, egress, ingress)| {
        let spec = object([
            ("podSelector", Some(selector)),
            ("policyTypes", types),
            ("egress", egress),
            ("ingress", ingress.map(Into::into)),
        ]);
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec })
    })
}

fn label_selector() -> impl Strategy<Value = Value> {
    let expression =
        (select(vec!["app", "tier", "team"]), select(vec!["In", "NotIn", "Exists", "DoesNotExist"]))
            .prop_map(|(key, operator)| {
                let values = operator.ends_with("In").then(|| json!(["web", "x"]));
                object([("key", Some(key.into())), ("operator", Some(operator.into())), ("values", values)])
            });
    (option::of(labels()), option::of(vec(expression, 0..2))).prop_map(|(labels, expressions)| {
        object([("matchLabels", labels), ("matchExpressions", expressions.map(Into::into))])
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let block = select(vec![
        json!({ "cidr": "8.8.8.0/24" }),
        json!({ "cidr": "0.0.0.0/0", "except": ["9.9.9.0/24"] }),
        json!({ "cidr": "10.1.0.0/16" }),
    ]);
    let peer = prop_oneof![
        block.prop_map(|block| json!({ "ipBlock": block })),
        label_selector().prop_map(|pods| json!({ "podSelector": pods })),
        label_selector().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        (label_selector(), label_selector())
            .prop_map(|(pods, namespaces)| json!({ "podSelector": pods, "namespaceSelector": namespaces })),
    ];
    (option::of(vec(peer, 0..3)), option::of(vec(admitted_port(), 0..3)))
        .prop_map(|(from, ports)| object([("from", from.map(Into::into)), ("ports", ports.map(Into::into))]))
}

fn admitted_port() -> impl Strategy<Value = Value> {
    let ports = prop_oneof![
        Just((None, None)),
        select(NUMBERS.to_vec()).prop_map(|number| (Some(Value::from(number)), None)),
        select(NAMES.to_vec()).prop_map(|name| (Some(Value::from(name)), None)),
        Just((Some(json!(8000)), Some(json!(9023)))),
        Just((Some(json!(8000)), Some(json!(9090)))),
    ];
    (ports, protocol()).prop_map(|((port, end), protocol)| {
        object([("port", port), ("endPort", end), ("protocol", protocol.map(Into::into))])
    })
}

/// Returns an object of another group whose kind has the name of one that is read.
fn foreign() -> impl Strategy<Value = Value> {
    select(vec![
        json!({
            "apiVersion": "crd.antrea.io/v1beta1", "kind": "NetworkPolicy", "metadata": { "name": "acnp", "namespace": "shop" },
            "spec": { "priority": 5, "appliedTo": [{ "podSelector": {} }], "ingress": [{ "action": "Drop", "ports": [{ "port": 8080 }] }] },
        }),
        json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": { "name": "hello", "namespace": "shop" },
            "spec": { "template": { "spec": { "containers": [{ "image": "i", "ports": [{ "containerPort": 8080 }] }] } } },
        }),
        json!({
            "apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": { "name": "job" },
            "spec": { "tasks": [{ "replicas": 1, "template": { "spec": { "containers": [{ "name": "c" }] } } }] },
        }),
        json!({ "apiVersion": "jaegertracing.io/v1", "kind": "Jaeger", "metadata": { "name": "j" }, "spec": { "ingress": { "enabled": false } } }),
    ])
}
