//! Conversion of an engine's explanation into the wire type of `/v1/explain`.

use portolan_engine::model::pod::PortRef;
use portolan_engine::model::service::{ServiceKind, ServicePort};
use portolan_engine::read::explain::answer::{self, End, EntryPoint, Explained, PodStep, ServiceStep};
use portolan_engine::read::explain::target::Target;
use portolan_engine::rules::isolation::PolicyStep;
use portolan_report::explanation::{
    EntryPointService, ExplainedEnd, ExplainedEntryPoint, ExplainedPod, ExplainedPolicy, ExplainedService,
    ExplainedServicePort, ExplainedTarget, ExplanationKind, NearPort, PolicyOpinion, TargetExplanation,
};
use portolan_report::wire::{Finding, Netns};

use super::{Converter, declaration, name, pod_ref, text};

/// Maximum number of selector labels that are shown.
const MAX_LABELS: usize = 16;

impl Converter {
    /// Converts an explanation.
    #[must_use]
    pub fn explanation(&self, explained: &Explained) -> TargetExplanation {
        let texts = |all: &[String]| all.iter().map(|one| text(one)).collect();
        TargetExplanation {
            kind: ExplanationKind::Explanation,
            envelope: self.envelope(),
            target: target(&explained.target),
            answer: texts(&explained.answer),
            notes: texts(&explained.notes),
            partial: texts(&explained.partial),
            next: texts(&explained.next),
            services: explained.services.iter().map(service).collect(),
            pods: explained.pods.iter().map(|step| self.explained_pod(step)).collect(),
            ends: explained.ends.iter().map(|end| self.end(end)).collect(),
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

    fn end(&self, end: &End) -> ExplainedEnd {
        ExplainedEnd {
            entry_points: end.entry_points.iter().map(entry_point).collect(),
            pod: end.pod.as_ref().map(pod_ref),
            protocol: end.protocol.as_str().to_owned(),
            port: end.port.map(Into::into),
            state: end.state.as_str().to_owned(),
            listener: end.listener.as_ref().map(|listener| self.listener(listener)),
            declaration: declaration(&end.declaration),
            exposure: end.exposure.as_str().to_owned(),
            policy: ExplainedPolicy {
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

fn entry_point(point: &EntryPoint) -> ExplainedEntryPoint {
    ExplainedEntryPoint {
        kind: point.kind.as_str().to_owned(),
        addresses: point.addresses.iter().take(answer::MAX_PODS).map(|address| name(address)).collect(),
        port: point.port.into(),
        service: point.service.as_ref().map(|(service, entry)| EntryPointService {
            namespace: name(&service.namespace),
            name: name(&service.name),
            port: service_port(entry),
        }),
    }
}

fn opinion(step: &PolicyStep) -> PolicyOpinion {
    PolicyOpinion { name: name(&step.name), admits: step.admits, peers: step.peers }
}
