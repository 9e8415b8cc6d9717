//! Converts the facts from which commands draft NetworkPolicies and declarations.

use portolan_engine::model::pod::{self, ContainerKind};
use portolan_engine::read::policy_basis::{BasisPod, BasisPort, PolicyBasis as Facts};
use portolan_report::answer::NodePod;
use portolan_report::policy_basis::{
    ContainerPort, LabelledPod, PolicyBasis, PolicyContainer, PolicyPod, PolicyPort,
};
use portolan_report::wire;

use super::{Converter, MAX_LIST, declaration, name, process, text, workload};

/// Maximum number of labels of a pod.
const MAX_LABELS: usize = 64;

/// Maximum number of containers of a pod.
const MAX_CONTAINERS: usize = 64;

/// Maximum number of ports that a container declares.
const MAX_CONTAINER_PORTS: usize = 256;

impl Converter {
    /// Converts the facts of a policy draft, with all peers: a policy without one of them would block it.
    #[must_use]
    pub fn policy_basis(&self, basis: &Facts) -> PolicyBasis {
        PolicyBasis {
            envelope: self.envelope(),
            pods: basis.pods.iter().map(|pod| self.policy_pod(pod)).collect(),
            neighbours: basis.neighbours.iter().map(|pod| labelled(pod)).collect(),
            callers: basis.callers.iter().map(|pod| labelled(pod)).collect(),
            truncated: basis.truncated,
        }
    }

    /// Converts a pod of the node for `/v1/pods`.
    #[must_use]
    pub fn node_pod(&self, pod: &pod::Pod) -> NodePod {
        let LabelledPod { pod: names, labels } = labelled(pod);
        let addresses = pod.addresses.iter().take(MAX_LIST).map(ToString::to_string).collect();
        NodePod { envelope: self.envelope(), pod: names, addresses, labels }
    }

    fn policy_pod(&self, pod: &BasisPod) -> PolicyPod {
        PolicyPod {
            labelled: labelled(&pod.pod),
            policies: pod.policies.iter().take(MAX_LIST).map(|policy| name(policy)).collect(),
            containers: pod.pod.containers.iter().take(MAX_CONTAINERS).map(container).collect(),
            missing_names: pod.missing_names.iter().map(|missing| name(missing)).collect(),
            storm: pod.storm,
            ports: pod.ports.iter().map(|port| self.policy_port(port)).collect(),
        }
    }

    fn policy_port(&self, port: &BasisPort) -> PolicyPort {
        let listener = port.listener.as_deref();
        PolicyPort {
            protocol: port.protocol.as_str().to_owned(),
            port: port.port.get(),
            name: port.name.as_deref().map(name),
            declaration: declaration(&port.declaration),
            exposure: listener.map(|listener| listener.exposure.as_str().to_owned()),
            container: listener.and_then(|one| one.container.as_ref()).map(|one| name(&one.name)),
            service_port_names: port.service_port_names.iter().map(|one| name(one)).collect(),
            unproven: listener.is_some_and(|listener| listener.unproven),
            process: listener.and_then(|listener| listener.process.as_ref()).map(process),
            code: port.code.map(|code| code.as_str().to_owned()),
            traffic: listener
                .map_or_else(wire::Traffic::default, |one| self.traffic_of(&one.traffic, usize::MAX)),
        }
    }
}

fn container(container: &pod::Container) -> PolicyContainer {
    let kind = match container.kind {
        ContainerKind::Regular => "regular",
        ContainerKind::Sidecar => "sidecar",
        ContainerKind::Init => "init",
        ContainerKind::Ephemeral => "ephemeral",
    };
    let ports = container.ports.iter().take(MAX_CONTAINER_PORTS);
    PolicyContainer {
        name: name(&container.name),
        kind: kind.to_owned(),
        ports: ports
            .map(|port| ContainerPort {
                name: port.name.as_deref().map(name),
                port: port.port.get(),
                protocol: port.protocol.as_str().to_owned(),
                host_port: port.host_port.map(std::num::NonZeroU16::get),
            })
            .collect(),
    }
}

fn labelled(pod: &pod::Pod) -> LabelledPod {
    LabelledPod {
        // Without the copy of the labels that only filters need.
        pod: wire::Pod {
            namespace: name(&pod.namespace),
            name: name(&pod.name),
            uid: name(&pod.uid.0),
            workload: pod.workload.as_ref().map(workload),
            host_network: pod.host_network,
            labels: None,
        },
        labels: pod.labels.iter().take(MAX_LABELS).map(|(key, value)| (text(key), name(value))).collect(),
    }
}
