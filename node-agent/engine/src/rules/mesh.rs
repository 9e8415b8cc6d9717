//! The ports that service meshes open in their own container, as data. Only the container that the socket's cgroup
//! names counts, never the process name.

use std::ops::RangeInclusive;

use crate::model::identity::Protocol;
use crate::model::pod::{Container, ContainerKind, Pod};
use crate::rules::container_match::runs_in;
use crate::rules::manifests::ServedPort;

/// The ports of one service mesh's proxy.
struct Mesh {
    /// Name of the mesh.
    name: &'static str,
    /// Name of the proxy's container.
    container: &'static str,
    /// Ports that the proxy opens.
    ports: &'static [(Protocol, RangeInclusive<u16>)],
}

/// The known meshes, with the ports that each project documents for its proxy.
const MESHES: &[Mesh] = &[
    Mesh {
        name: "istio",
        container: "istio-proxy",
        // Admin, outbound, inbound, debug, HBONE, merged metrics, health, DNS, Envoy's metrics.
        ports: &[(Protocol::Tcp, 15_000..=15_090), (Protocol::Udp, 15_053..=15_053)],
    },
    Mesh {
        name: "linkerd",
        container: "linkerd-proxy",
        // Outbound, inbound, tap, admin with metrics and health.
        ports: &[(Protocol::Tcp, 4140..=4140), (Protocol::Tcp, 4143..=4143), (Protocol::Tcp, 4190..=4191)],
    },
    Mesh {
        name: "linkerd",
        // With Linkerd's CNI plugin, an init container checks the redirection of traffic before the proxy starts.
        container: "linkerd-network-validator",
        ports: &[(Protocol::Tcp, 4140..=4140)],
    },
    Mesh {
        name: "kuma",
        container: "kuma-sidecar",
        // Redirected traffic, DNS, Envoy's admin, readiness, metrics.
        ports: &[
            (Protocol::Tcp, 15_001..=15_010),
            (Protocol::Tcp, 15_053..=15_054),
            (Protocol::Udp, 15_053..=15_054),
            (Protocol::Tcp, 9901..=9902),
            (Protocol::Tcp, 5670..=5670),
        ],
    },
    Mesh {
        name: "consul",
        container: "consul-dataplane",
        // Inbound, outbound, Envoy's admin, merged metrics, metrics, health, DNS.
        ports: &[
            (Protocol::Tcp, 20_000..=20_000),
            (Protocol::Tcp, 15_001..=15_001),
            (Protocol::Tcp, 19_000..=19_000),
            (Protocol::Tcp, 20_100..=20_100),
            (Protocol::Tcp, 20_200..=20_200),
            (Protocol::Tcp, 20_300..=20_300),
            (Protocol::Tcp, 8600..=8600),
            (Protocol::Udp, 8600..=8600),
        ],
    },
];

/// The ports that ztunnel, the node's proxy of Istio's ambient mode, opens in the netns of the pods that it serves:
/// outbound, inbound in plaintext, HBONE, metrics, health, DNS, outbound through SOCKS.
const ZTUNNEL: &[(Protocol, u16)] = &[
    (Protocol::Tcp, 15_001),
    (Protocol::Tcp, 15_006),
    (Protocol::Tcp, 15_008),
    (Protocol::Tcp, 15_020),
    (Protocol::Tcp, 15_021),
    (Protocol::Tcp, 15_053),
    (Protocol::Udp, 15_053),
    (Protocol::Tcp, 15_080),
];

/// Returns the mesh and container that opened this port, if the port is one of the mesh's own.
#[must_use]
pub(crate) fn opened_by<'a>(pod: &'a Pod, served: ServedPort<'a>) -> Option<(&'static str, &'a Container)> {
    match served.served_from {
        Some(other) => opened_by_node(other, served),
        None => opened_by_sidecar(pod, served),
    }
}

/// Returns true if the pod has the proxy of a mesh, which takes the calls to every TCP port of the pod and calls the
/// application itself, possibly over loopback.
#[must_use]
pub(crate) fn has_proxy(pod: &Pod) -> bool {
    let is_proxy = |container: &Container| {
        !matches!(container.kind, ContainerKind::Ephemeral | ContainerKind::Init)
            && MESHES.iter().any(|mesh| mesh.container == container.name)
    };
    pod.containers.iter().any(is_proxy)
}

/// Returns true if a mesh injects containers of this name into pods, so that the pods' template lacks it.
#[must_use]
pub fn is_injected(container: &str) -> bool {
    MESHES.iter().any(|mesh| mesh.container == container)
}

/// Returns the container of ztunnel, if that pod is ztunnel and the port is one of its own.
fn opened_by_node<'a>(pod: &'a Pod, served: ServedPort<'_>) -> Option<(&'static str, &'a Container)> {
    ZTUNNEL.iter().find(|port| **port == (served.protocol, served.port.get()))?;
    let by_label = pod.labels.get("app").is_some_and(|app| app == "ztunnel");
    let by_owner = pod.workload.as_ref().is_some_and(|w| w.kind == "DaemonSet" && w.name == "ztunnel");
    if !by_label && !by_owner {
        return None;
    }
    let container = pod.containers.iter().find(|container| container.name == "istio-proxy")?;
    runs_in(served.process, container).then_some(("istio", container))
}

fn opened_by_sidecar<'a>(pod: &'a Pod, served: ServedPort<'_>) -> Option<(&'static str, &'a Container)> {
    MESHES.iter().find_map(|mesh| {
        let port = served.port.get();
        let mut ports = mesh.ports.iter();
        ports.find(|(protocol, range)| *protocol == served.protocol && range.contains(&port))?;
        let container = pod.containers.iter().find(|container| {
            container.name == mesh.container && container.kind != ContainerKind::Ephemeral
        })?;
        runs_in(served.process, container).then_some((mesh.name, container))
    })
}
