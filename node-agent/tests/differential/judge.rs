//! An independent judge: what the Kubernetes API documentation and docs/findings.md say about a cluster, read from the plain
//! JSON of its objects. It shares no code with the sources and the engine, and looks everything up anew for each port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use crate::cluster::{Cluster, NODE, PODS, Socket};

/// Name of a pod, protocol, port.
pub type Place = (String, String, u16);

/// What is right for a port that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub declaration: &'static str,
    /// Source and reference of each explanation; empty for a declared port.
    pub explained_by: BTreeSet<(String, String)>,
    pub policy: &'static str,
    /// `None`: no finding.
    pub code: Option<&'static str>,
}

/// Returns the verdict on each port that is served.
/// `are_policies_known` is false where nothing tells whether the cluster has policies.
pub fn verdicts(cluster: &Cluster, are_policies_known: bool) -> BTreeMap<Place, Verdict> {
    let mut ports: BTreeMap<(usize, &str, u16), Vec<&Socket>> = BTreeMap::new();
    for socket in &cluster.sockets {
        ports.entry((socket.pod, socket.protocol, socket.port)).or_default().push(socket);
    }
    let verdicts = ports.into_iter().map(|((pod, protocol, number), sockets)| {
        let port = Port { cluster, are_policies_known, pod: pod_of(cluster, pod), protocol, number };
        ((PODS[pod].0.to_owned(), protocol.to_owned(), number), port.verdict(&sockets))
    });
    verdicts.collect()
}

/// Returns the findings about ports that nothing serves: place and code.
pub fn unserved(cluster: &Cluster) -> BTreeSet<(Place, &'static str)> {
    let mut found = BTreeSet::new();
    for (index, (name, ..)) in PODS.iter().enumerate() {
        let pod = pod_of(cluster, index);
        let condition = |kind: &str| {
            let all = list(&pod["status"]["conditions"]);
            all.filter(|one| one["type"] == kind).all(|one| one["status"] == "True")
        };
        let is_deleted = !pod["metadata"]["deletionTimestamp"].is_null();
        let is_served = |protocol: &str, number: u16, loopback_counts: bool| {
            cluster.sockets.iter().any(|socket| {
                (socket.pod, socket.protocol, socket.port) == (index, protocol, number)
                    && (loopback_counts || !socket.on_loopback)
            })
        };
        if condition("ContainersReady") && !is_deleted {
            for (protocol, number) in
                serving_containers(pod).flat_map(|one| list(&one["ports"])).map(place_of)
            {
                if !is_served(protocol, number, true) {
                    found.insert(((name.to_string(), protocol.to_owned(), number), "stale-declaration"));
                }
            }
        }
        for service in selecting(cluster, pod) {
            // What a pod serves is judged once its containers are ready; a readiness gate keeps it from most Services.
            let gets_traffic = service["spec"]["publishNotReadyAddresses"] == true || condition("Ready");
            if !gets_traffic || !condition("ContainersReady") || is_deleted {
                continue;
            }
            for entry in list(&service["spec"]["ports"]) {
                let protocol = protocol_of(entry);
                if let Some(number) = target(pod, entry).filter(|number| !is_served(protocol, *number, false))
                {
                    found.insert(((name.to_string(), protocol.to_owned(), number), "dangling-service-port"));
                }
            }
        }
    }
    found
}

/// Returns the named targets of Services that no selected pod of the node declares: name of the pod, `NAMESPACE/NAME:PORT` of
/// the Service, and protocol.
pub fn missing_names(cluster: &Cluster) -> BTreeSet<(String, String, String)> {
    let mut found = BTreeSet::new();
    let pods = || (0..PODS.len()).map(|index| pod_of(cluster, index));
    for pod in pods().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        let conditions: Vec<&Value> = list(&pod["status"]["conditions"]).collect();
        if conditions.iter().any(|one| one["status"] != "True") {
            continue;
        }
        for service in selecting(cluster, pod) {
            let resolves = |entry: &Value| {
                let mut selected = pods().filter(|other| selecting(cluster, other).any(|one| one == service));
                selected.any(|other| target(other, entry).is_some())
            };
            for entry in list(&service["spec"]["ports"]).filter(|entry| !resolves(entry)) {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let reference = format!("{}:{}", full_name(service), entry["port"]);
                found.insert((name, reference, protocol_of(entry).to_owned()));
            }
        }
    }
    found
}

/// A served port of a pod.
struct Port<'a> {
    cluster: &'a Cluster,
    are_policies_known: bool,
    pod: &'a Value,
    protocol: &'a str,
    number: u16,
}

/// Why a port is expected, and by whom it may be called for that reason.
struct Reason<'a> {
    source: &'static str,
    reference: String,
    admits: Box<dyn Fn(&str) -> bool + 'a>,
}

/// How far away a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    Node,
    Pod,
    Outside,
}

impl<'a> Port<'a> {
    fn verdict(&self, sockets: &[&Socket]) -> Verdict {
        let mut declaring = declaring_containers(self.pod).flat_map(|one| list(&one["ports"]));
        let is_declared = declaring.any(|port| place_of(port) == (self.protocol, self.number));
        let reasons = self.reasons();
        let declaration = match (is_declared, reasons.is_empty()) {
            (true, _) => "declared",
            (false, false) => "explained",
            (false, true) => "undeclared",
        };
        let callers = sockets.iter().flat_map(|socket| &socket.callers);
        let beyond = callers.filter(|caller| !reasons.iter().any(|reason| (reason.admits)(caller)));
        let farthest = beyond.map(|caller| distance(caller)).max();
        let policy = self.policy();
        let is_loopback = sockets.iter().all(|socket| socket.on_loopback);
        let code = match (declaration, farthest) {
            ("declared", _) => None,
            (_, Some(Distance::Outside)) => Some("undeclared-external"),
            (_, Some(Distance::Pod)) => Some("undeclared-active"),
            _ if is_loopback => Some("undeclared-loopback"),
            ("explained", _) => Some("undeclared-explained"),
            _ if policy == "blocked" => Some("undeclared-blocked"),
            _ => Some("undeclared-reachable"),
        };
        let explained_by = reasons.iter().map(|reason| (reason.source.to_owned(), reason.reference.clone()));
        Verdict { declaration, explained_by: explained_by.collect(), policy, code }
    }

    fn reasons(&self) -> Vec<Reason<'a>> {
        let mut reasons = Vec::new();
        self.calls_of_kubelet(&mut reasons);
        let outside_leads_in = |service: &Value| {
            ["NodePort", "LoadBalancer"].iter().any(|kind| service["spec"]["type"] == *kind)
                || list(&service["spec"]["externalIPs"]).next().is_some()
        };
        for service in selecting(self.cluster, self.pod) {
            for entry in list(&service["spec"]["ports"]).filter(|entry| protocol_of(entry) == self.protocol) {
                if target(self.pod, entry) == Some(self.number) {
                    let is_open = outside_leads_in(service);
                    reasons.push(Reason {
                        source: "service",
                        reference: format!("{}:{}", full_name(service), entry["port"]),
                        admits: Box::new(move |caller| is_open || distance(caller) != Distance::Outside),
                    });
                }
            }
        }
        let annotations = &self.pod["metadata"]["annotations"];
        let scraped = annotations["prometheus.io/port"]
            .as_str()
            .filter(|_| annotations["prometheus.io/scrape"] != "false");
        if self.protocol == "TCP" && scraped == Some(self.number.to_string().as_str()) {
            reasons.push(Reason {
                source: "annotation",
                reference: "prometheus.io/port".to_owned(),
                admits: Box::new(|caller| distance(caller) != Distance::Outside),
            });
        }
        for policy in self.isolating() {
            let naming: Vec<&Value> =
                list(&policy["spec"]["ingress"]).filter(|rule| self.names(rule)).collect();
            if !naming.is_empty() {
                let cluster = self.cluster;
                reasons.push(Reason {
                    source: "network-policy",
                    reference: full_name(policy),
                    admits: Box::new(move |caller| {
                        distance(caller) == Distance::Node
                            || naming.iter().any(|rule| admits_caller(cluster, policy, rule, caller))
                    }),
                });
            }
        }
        reasons
    }

    /// Adds the probes and hooks that call the port.
    fn calls_of_kubelet(&self, reasons: &mut Vec<Reason<'a>>) {
        if self.protocol != "TCP" {
            return;
        }
        for container in containers(self.pod) {
            let actions = [
                ("probe", "livenessProbe", &container["livenessProbe"]),
                ("probe", "readinessProbe", &container["readinessProbe"]),
                ("lifecycle", "postStart", &container["lifecycle"]["postStart"]),
                ("lifecycle", "preStop", &container["lifecycle"]["preStop"]),
            ];
            for (source, name, action) in actions {
                let called = ["httpGet", "tcpSocket"].iter().find_map(|kind| action.get(kind));
                // Kubelet calls the host, which is the pod's address where none is given.
                let is_own = |host: &str| host.is_empty() || self.pod["status"]["podIP"] == host;
                let Some(called) = called.filter(|called| called["host"].as_str().is_none_or(is_own)) else {
                    continue;
                };
                let number = number_of(&called["port"]).or_else(|| {
                    let mut own = list(&container["ports"]);
                    let named = own.find(|port| !port["name"].is_null() && port["name"] == called["port"])?;
                    number_of(&named["containerPort"])
                });
                if number == Some(self.number) {
                    reasons.push(Reason {
                        source,
                        reference: format!(
                            "container/{}/{name}",
                            container["name"].as_str().unwrap_or_default()
                        ),
                        admits: Box::new(|caller| distance(caller) == Distance::Node),
                    });
                }
            }
        }
    }

    /// Returns the policies that isolate the pod for ingress.
    fn isolating(&self) -> impl Iterator<Item = &'a Value> {
        let (cluster, pod) = (self.cluster, self.pod);
        of_kind(cluster, "networking.k8s.io/v1", "NetworkPolicy").filter(move |policy| {
            let types: Vec<&Value> = list(&policy["spec"]["policyTypes"]).collect();
            // Without types a policy is about ingress, and about egress if it has egress rules.
            let is_about_ingress = types.is_empty() || types.iter().any(|kind| *kind == "Ingress");
            is_about_ingress
                && namespace_of(policy) == namespace_of(pod)
                && matches(&policy["spec"]["podSelector"], &pod["metadata"]["labels"])
        })
    }

    fn policy(&self) -> &'static str {
        let isolating: Vec<&Value> = self.isolating().collect();
        let mut rules = isolating.iter().flat_map(|policy| list(&policy["spec"]["ingress"]));
        if !self.are_policies_known {
            "unknown"
        } else if isolating.is_empty() {
            "not-isolated"
        } else if rules.any(|rule| self.is_admitted_by(rule)) {
            "open"
        } else {
            "blocked"
        }
    }

    fn is_admitted_by(&self, rule: &Value) -> bool {
        let mut ports = list(&rule["ports"]).peekable();
        ports.peek().is_none()
            || ports.filter(|port| protocol_of(port) == self.protocol).any(|port| match &port["port"] {
                Value::Null => true,
                Value::String(name) => named_port(self.pod, name, self.protocol) == Some(self.number),
                _ => range_of(port).is_some_and(|range| range.contains(&self.number)),
            })
    }

    /// Returns true if the rule contains the port by number, or in a range of at most 1,024 ports.
    fn names(&self, rule: &Value) -> bool {
        let mut ports = list(&rule["ports"]).filter(|port| protocol_of(port) == self.protocol);
        ports.any(|port| {
            range_of(port)
                .is_some_and(|range| range.contains(&self.number) && range.end() - range.start() < 1024)
        })
    }
}

fn range_of(port: &Value) -> Option<std::ops::RangeInclusive<u16>> {
    let first = port["port"].as_u64().and_then(|first| u16::try_from(first).ok())?;
    Some(first..=number_of(&port["endPort"]).unwrap_or(first))
}

/// Returns true if the rule's `from` admits the caller.
fn admits_caller(cluster: &Cluster, policy: &Value, rule: &Value, caller: &str) -> bool {
    let mut peers = list(&rule["from"]).peekable();
    if peers.peek().is_none() {
        return true;
    }
    let pod = PODS.iter().position(|pod| pod.3 == caller).map(|index| pod_of(cluster, index));
    peers.any(|peer| {
        if let Some(block) = peer.get("ipBlock") {
            let is_in = |network: &Value| is_within(caller, network.as_str().unwrap_or_default());
            return is_in(&block["cidr"]) && !list(&block["except"]).any(is_in);
        }
        let Some(pod) = pod else { return false };
        let is_in_namespace = match peer.get("namespaceSelector") {
            None => namespace_of(pod) == namespace_of(policy),
            Some(selector) => {
                let name = namespace_of(pod);
                let mut known = of_kind(cluster, "v1", "Namespace");
                known.any(|one| {
                    one["metadata"]["name"] == name && matches(selector, &one["metadata"]["labels"])
                })
            }
        };
        is_in_namespace
            && peer.get("podSelector").is_none_or(|selector| matches(selector, &pod["metadata"]["labels"]))
    })
}

fn is_within(address: &str, network: &str) -> bool {
    let (Ok(IpAddr::V4(address)), Some((base, length))) = (address.parse(), network.split_once('/')) else {
        return false;
    };
    let (Ok(IpAddr::V4(base)), Ok(length)) = (base.parse(), length.parse::<u32>()) else { return false };
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    u32::from(address) & mask == u32::from(base) & mask
}

fn distance(caller: &str) -> Distance {
    if caller == NODE {
        Distance::Node
    } else if PODS.iter().any(|pod| pod.3 == caller) {
        Distance::Pod
    } else {
        Distance::Outside
    }
}

fn pod_of(cluster: &Cluster, index: usize) -> &Value {
    let found = of_kind(cluster, "v1", "Pod").find(|pod| pod["metadata"]["name"] == PODS[index].0);
    found.unwrap_or(&Value::Null)
}

fn of_kind<'a>(
    cluster: &'a Cluster,
    version: &'static str,
    kind: &'static str,
) -> impl Iterator<Item = &'a Value> {
    cluster.objects.iter().filter(move |one| one["apiVersion"] == version && one["kind"] == kind)
}

/// Returns the Services that send traffic to the pod.
fn selecting<'a>(cluster: &'a Cluster, pod: &'a Value) -> impl Iterator<Item = &'a Value> {
    of_kind(cluster, "v1", "Service").filter(move |service| {
        let spec = &service["spec"];
        let selector = spec["selector"].as_object().filter(|selector| !selector.is_empty());
        spec["type"] != "ExternalName"
            && namespace_of(service) == namespace_of(pod)
            && selector
                .is_some_and(|all| all.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value))
    })
}

fn target(pod: &Value, entry: &Value) -> Option<u16> {
    match &entry["targetPort"] {
        Value::String(name) if !name.is_empty() => named_port(pod, name, protocol_of(entry)),
        Value::Number(number) if number.as_u64() != Some(0) => number_of(&entry["targetPort"]),
        _ => number_of(&entry["port"]),
    }
}

/// Returns the port that Services and policies mean by a name: the first with this name and protocol.
fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<u16> {
    let mut ports = declaring_containers(pod).flat_map(|one| list(&one["ports"]));
    let port = ports.find(|port| port["name"] == name && protocol_of(port) == protocol)?;
    number_of(&port["containerPort"])
}

/// Returns the containers, the sidecars, and the init containers that run.
fn declaring_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let runs = move |one: &Value| {
        let mut statuses = list(&pod["status"]["initContainerStatuses"]);
        statuses.any(|status| status["name"] == one["name"] && status["state"].get("running").is_some())
    };
    let init = list(&pod["spec"]["initContainers"]);
    list(&pod["spec"]["containers"])
        .chain(init.filter(move |one| one["restartPolicy"] == "Always" || runs(one)))
}

/// Returns the containers that ought to serve what they declare: those that stay, if they run as far as is known.
fn serving_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let may_run = move |one: &Value| {
        let mut statuses = list(&pod["status"]["initContainerStatuses"]);
        statuses.all(|status| status["name"] != one["name"] || status["state"].get("running").is_some())
    };
    let sidecars = list(&pod["spec"]["initContainers"])
        .filter(move |one| one["restartPolicy"] == "Always" && may_run(one));
    list(&pod["spec"]["containers"]).chain(sidecars)
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|kind| list(&pod["spec"][kind]))
}

fn matches(selector: &Value, labels: &Value) -> bool {
    let equal =
        selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    equal
        && list(&selector["matchExpressions"]).all(|one| {
            let value = one["key"].as_str().and_then(|key| labels.get(key));
            let is_among = value.is_some_and(|value| list(&one["values"]).any(|known| known == value));
            match one["operator"].as_str() {
                Some("In") => is_among,
                Some("NotIn") => !is_among,
                Some("Exists") => value.is_some(),
                _ => value.is_none(),
            }
        })
}

fn place_of(port: &Value) -> (&str, u16) {
    (protocol_of(port), number_of(&port["containerPort"]).unwrap_or(0))
}

fn protocol_of(port: &Value) -> &str {
    port["protocol"].as_str().filter(|protocol| !protocol.is_empty()).unwrap_or("TCP")
}

/// Returns a number, also one that is written as text.
fn number_of(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number.or_else(|| value.as_str()?.parse().ok())
}

fn full_name(object: &Value) -> String {
    format!("{}/{}", namespace_of(object), object["metadata"]["name"].as_str().unwrap_or_default())
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().filter(|name| !name.is_empty()).unwrap_or("default")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
