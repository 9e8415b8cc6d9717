//! The wire type of `/v1/explain`: the way in to a pod, a port, a Service or a port of the node. It is asked for and never
//! streamed, so it stands beside the objects of the stream.

use portolan_engine::explain::target::Target;
use portolan_engine::explain::{self, Door, End, Explained, PodStep, PolicyStep, ServiceStep};
use portolan_engine::pod::PortRef;
use portolan_engine::service::{ServiceKind, ServicePort};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::convert::{Converter, declaration, name, pod_ref, text};
use super::report::{Declaration, Envelope, Finding, Listener, Netns, Pod};

/// Labels of a selector that are shown at most.
const MAX_LABELS: usize = 16;

/// Answer of `/v1/explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// `Explanation` is why one port is expected: see `report`.
#[schemars(rename = "TargetExplanation")]
pub struct Explanation {
    pub kind: ExplanationKind,
    #[serde(flatten)]
    pub envelope: Envelope,
    pub target: ExplainedTarget,
    /// The answer, in sentences.
    pub answer: Vec<String>,
    /// What one should know beside it.
    pub notes: Vec<String>,
    /// Why it is not the whole answer; empty where it is.
    pub partial: Vec<String>,
    /// What to do next.
    pub next: Vec<String>,
    /// The Services on the way.
    pub services: Vec<ExplainedService>,
    /// The pods of this node at the ends of the ways.
    pub pods: Vec<ExplainedPod>,
    /// The ports at which the ways end.
    pub ends: Vec<WayIn>,
    /// Something was left out, since there is too much of it.
    pub truncated: bool,
}

/// Always `Explanation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExplanationKind {
    Explanation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedTarget {
    /// `pod`, `service` or `nodePort`.
    pub kind: String,
    /// As it may be asked again.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedService {
    pub namespace: String,
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: String,
    pub headless: bool,
    /// `key=value`; empty: its endpoints are somebody else's work.
    pub selector: Vec<String>,
    /// `Local` or `Cluster`.
    pub external_traffic_policy: String,
    /// Those that are asked for.
    pub ports: Vec<ExplainedServicePort>,
    /// Pods of this node that it selects.
    pub pods_on_this_node: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedServicePort {
    pub name: Option<String>,
    pub protocol: String,
    pub port: u16,
    /// A number, or the name of a container's port.
    pub target_port: String,
    pub node_port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedPod {
    pub pod: Pod,
    pub addresses: Vec<String>,
    /// `null` where no source says so.
    pub ready: Option<bool>,
    /// A runtime whose sockets this node's kernel does not see.
    pub opaque_runtime: Option<String>,
    /// `null` where it was not seen yet.
    pub netns: Option<Netns>,
    /// How many of its ports are listened on.
    pub listening: usize,
    /// On the pod as a whole.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WayIn {
    /// What may be dialled.
    pub doors: Vec<WayInDoor>,
    /// `null`: the node's own socket.
    pub pod: Option<Pod>,
    pub protocol: String,
    /// `null`: the pod has no port of the name that targetPort says.
    pub port: Option<u16>,
    /// `served`, `silent`, `unresolved`, `unseen` or `opaque`.
    pub state: String,
    /// With process, container and traffic; `null` where nobody is seen to listen.
    pub listener: Option<Listener>,
    pub declaration: Declaration,
    /// `loopback`, `pod` or `host`.
    pub exposure: String,
    pub policy: WayInPolicy,
    /// On this port; `listener` is `null` in them, since it stands above.
    pub findings: Vec<Finding>,
    /// Where nobody listens: ports of the same pod that are listened on, the nearest first.
    pub nearest: Vec<NearPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WayInDoor {
    /// `nodePort`, `loadBalancer`, `externalIP`, `clusterIP`, `headless`, `hostPort`, `hostNetwork`, `podAddress` or
    /// `loopback`.
    pub kind: String,
    /// Empty: any address of a node, or one that is not known.
    pub addresses: Vec<String>,
    pub port: u16,
    pub service: Option<DoorService>,
}

/// Through which port of which Service a door leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorService {
    pub namespace: String,
    pub name: String,
    pub port: ExplainedServicePort,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WayInPolicy {
    /// `open`, `blocked`, `not-isolated` or `unknown`.
    pub verdict: String,
    /// Those that select the pod, or may.
    pub policies: Vec<PolicyOpinion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyOpinion {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// Whether it admits this port from anywhere; `null` where its selector is not understood.
    pub admits: Option<bool>,
    /// How many peers its rules for this port name; 0 where it admits: from everywhere.
    pub peers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NearPort {
    pub protocol: String,
    pub port: u16,
}

impl Converter {
    /// An answer as it is written.
    #[must_use]
    pub fn explanation(&self, explained: &Explained) -> Explanation {
        let texts = |all: &[String]| all.iter().map(|one| text(one)).collect();
        Explanation {
            kind: ExplanationKind::Explanation,
            envelope: self.envelope(),
            target: target(&explained.target),
            answer: texts(&explained.answer),
            notes: texts(&explained.notes),
            partial: texts(&explained.partial),
            next: texts(&explained.next),
            services: explained.services.iter().map(service).collect(),
            pods: explained.pods.iter().map(|step| self.explained_pod(step)).collect(),
            ends: explained.ends.iter().map(|end| self.way_in(end)).collect(),
            truncated: explained.truncated,
        }
    }

    fn explained_pod(&self, step: &PodStep) -> ExplainedPod {
        ExplainedPod {
            pod: pod_ref(&step.pod),
            addresses: step.addresses.iter().map(ToString::to_string).collect(),
            ready: step.ready,
            opaque_runtime: step.opaque_runtime.as_deref().map(name),
            netns: step
                .netns
                .as_ref()
                .map(|netns| Netns { inode: netns.inode, name: netns.name.as_deref().map(name) }),
            listening: step.listening,
            findings: step.findings.iter().map(|finding| self.finding(finding)).collect(),
        }
    }

    fn way_in(&self, end: &End) -> WayIn {
        WayIn {
            doors: end.doors.iter().map(door).collect(),
            pod: end.pod.as_ref().map(pod_ref),
            protocol: end.protocol.as_str().to_owned(),
            port: end.port.map(Into::into),
            state: end.state.as_str().to_owned(),
            listener: end.listener.as_ref().map(|listener| self.listener(listener)),
            declaration: declaration(&end.declaration),
            exposure: end.exposure.as_str().to_owned(),
            policy: WayInPolicy {
                verdict: end.policy.as_str().to_owned(),
                policies: end.policies.iter().map(opinion).collect(),
            },
            findings: end
                .findings
                .iter()
                .map(|finding| Finding { listener: None, ..self.finding(finding) })
                .collect(),
            nearest: end
                .nearest
                .iter()
                .map(|(protocol, port)| NearPort {
                    protocol: protocol.as_str().to_owned(),
                    port: (*port).into(),
                })
                .collect(),
        }
    }
}

fn target(target: &Target) -> ExplainedTarget {
    let kind = match target {
        Target::Pod { .. } => "pod",
        Target::Service { .. } => "service",
        Target::NodePort { .. } => "nodePort",
    };
    ExplainedTarget { kind: kind.to_owned(), text: text(&target.to_string()) }
}

fn service(step: &ServiceStep) -> ExplainedService {
    let service = &step.service;
    let local_only = service.outside.as_ref().is_some_and(|outside| outside.local_only);
    let kind = match service.kind {
        ServiceKind::ClusterIp | ServiceKind::Headless => "ClusterIP",
        ServiceKind::NodePort => "NodePort",
        ServiceKind::LoadBalancer => "LoadBalancer",
        ServiceKind::ExternalName => "ExternalName",
    };
    ExplainedService {
        namespace: name(&service.namespace),
        name: name(&service.name),
        r#type: kind.to_owned(),
        headless: service.kind == ServiceKind::Headless,
        selector: service
            .selector
            .iter()
            .take(MAX_LABELS)
            .map(|(key, value)| text(&format!("{key}={value}")))
            .collect(),
        external_traffic_policy: if local_only { "Local" } else { "Cluster" }.to_owned(),
        ports: step.ports.iter().map(service_port).collect(),
        pods_on_this_node: step.pods_here,
    }
}

fn service_port(entry: &ServicePort) -> ExplainedServicePort {
    ExplainedServicePort {
        name: entry.name.as_deref().map(name),
        protocol: entry.protocol.as_str().to_owned(),
        port: entry.port.into(),
        target_port: match &entry.target {
            PortRef::Number(port) => port.to_string(),
            PortRef::Name(port) => name(port),
        },
        node_port: entry.node_port.map(Into::into),
    }
}

fn door(door: &Door) -> WayInDoor {
    WayInDoor {
        kind: door.kind.as_str().to_owned(),
        addresses: door.addresses.iter().take(explain::MAX_PODS).map(|address| name(address)).collect(),
        port: door.port.into(),
        service: door.service.as_ref().map(|(service, entry)| DoorService {
            namespace: name(&service.namespace),
            name: name(&service.name),
            port: service_port(entry),
        }),
    }
}

fn opinion(step: &PolicyStep) -> PolicyOpinion {
    PolicyOpinion { name: name(&step.name), admits: step.admits, peers: step.peers }
}
