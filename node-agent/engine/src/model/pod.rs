//! A pod independent of the source that reported it: identity, where it runs, and what its containers declare.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::{PodUid, Protocol};

/// The kind of source that reports a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodSource {
    /// The container runtime, over CRI.
    Runtime,
    /// The API server.
    ApiServer,
    /// A file of manifests.
    File,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// UID; for a static pod kubelet's hash, which cgroups and the runtime carry.
    pub uid: PodUid,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
    /// The object that owns the pod; `None` where unknown.
    pub workload: Option<Workload>,
    /// True if the pod uses the node's network.
    pub host_network: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Only the annotations that the engine reads (`prometheus.io/*`, `portolan.dev/*`, a mesh's), each bounded by
    /// its source.
    pub annotations: BTreeMap<String, String>,
    /// Containers of every kind.
    pub containers: Vec<Container>,
    /// `status.podIPs`, as far as the source knows them.
    pub addresses: Vec<IpAddr>,
    /// Canonical path of the pod's netns (`/run/netns/NAME`); `None` for hostNetwork or where the source does not
    /// know it.
    pub netns_path: Option<String>,
    /// The API server's UID of a static pod's mirror pod.
    pub mirror: Option<PodUid>,
    /// True if every container is ready; `None` where the source does not know.
    pub ready: Option<bool>,
    /// Condition `Ready`: true if Services send to the pod, which readiness gates can prevent although every container is
    /// ready; `None` where the source does not know.
    pub service_ready: Option<bool>,
    /// True once the pod is being deleted: Services no longer send to it, and its processes end.
    pub draining: bool,
    /// Name of a runtime whose sockets this kernel does not see (Kata, gVisor).
    pub opaque_runtime: Option<String>,
}

/// How far a pod differs from its previous version; ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// At most the readiness differs, which changes most often, or that the pod is being deleted. No open port is judged by
    /// it.
    Readiness,
    /// The labels differ too, so other objects may select the pod.
    Labels,
    /// Something else differs.
    More,
}

impl Pod {
    /// True unless a readiness gate is known to keep Services from the pod.
    #[must_use]
    pub(crate) fn is_service_ready(&self) -> bool {
        self.service_ready != Some(false)
    }

    /// Returns whether Services send to the pod; `None` where no source knows.
    #[must_use]
    pub(crate) fn gets_service_traffic(&self) -> Option<bool> {
        if self.draining || self.ready == Some(false) {
            Some(false)
        } else {
            self.service_ready.or(self.ready)
        }
    }

    /// Returns the extent of the differences between the two versions.
    #[must_use]
    pub(crate) fn extent_of_change(&self, other: &Self) -> Extent {
        // Destructures every field, so that the compiler asks about a new one.
        let Self {
            uid,
            namespace,
            name,
            workload,
            host_network,
            labels,
            annotations,
            containers,
            addresses,
            netns_path,
            mirror,
            ready: _,
            service_ready: _,
            draining: _,
            opaque_runtime,
        } = self;
        let is_same_otherwise = (uid, namespace, name, workload)
            == (&other.uid, &other.namespace, &other.name, &other.workload)
            && (host_network, annotations) == (&other.host_network, &other.annotations)
            && (containers, addresses) == (&other.containers, &other.addresses)
            && (netns_path, mirror) == (&other.netns_path, &other.mirror)
            && opaque_runtime == &other.opaque_runtime;
        match (is_same_otherwise, *labels == other.labels) {
            (true, true) => Extent::Readiness,
            (true, false) => Extent::Labels,
            (false, _) => Extent::More,
        }
    }
}

/// The object that owns a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Name, in the pod's namespace.
    pub name: String,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Name within the pod.
    pub name: String,
    /// The runtime's id, with or without its scheme; empty where the source does not know it.
    pub id: String,
    /// Image reference; empty where the source does not know it.
    pub image: String,
    /// Digest of the image's manifest, such as `sha256:…`, as the runtime pulled it; empty where the source does not know it.
    pub image_digest: String,
    /// Which of the pod's container lists it is in.
    pub kind: ContainerKind,
    /// True if it runs; `None` where the source does not know.
    pub running: Option<bool>,
    /// Declared ports.
    pub ports: Vec<DeclaredPort>,
    /// Ports that its probes and lifecycle handlers call.
    pub probes: Vec<ProbePort>,
}

/// A port that kubelet calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePort {
    /// The probe or lifecycle handler.
    pub handler: ProbeHandler,
    /// The port that is called.
    pub port: PortRef,
}

/// A probe or lifecycle handler of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeHandler {
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
    /// `startupProbe`.
    Startup,
    /// `lifecycle.postStart`.
    PostStart,
    /// `lifecycle.preStop`.
    PreStop,
}

/// A port as objects refer to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRef {
    /// By number.
    Number(NonZeroU16),
    /// By the name of a container's declared port.
    Name(String),
}

/// Which of a pod's container lists a container is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerKind {
    /// A regular container. Also where the source cannot tell: the runtime does not distinguish sidecars and debug
    /// containers.
    #[default]
    Regular,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    /// A plain init container. Declares ports only while it runs.
    Init,
    /// A debug container. Never declares ports.
    Ephemeral,
}

/// One entry of a container's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredPort {
    /// Name, if the port has one.
    pub name: Option<String>,
    /// `containerPort`.
    pub port: NonZeroU16,
    /// Protocol; TCP where the manifest has none.
    pub protocol: Protocol,
    /// `hostPort`, if the entry has one.
    pub host_port: Option<NonZeroU16>,
}

/// Returns true for runtimes, by the name of their class or handler, whose sockets this node's kernel does not see:
/// they run the pod in a virtual machine, or with a network stack of their own.
#[must_use]
pub fn hides_sockets(runtime: &str) -> bool {
    let runtime = runtime.to_ascii_lowercase();
    ["kata", "gvisor", "runsc", "firecracker", "krun"].iter().any(|name| runtime.contains(name))
}

/// Resolves a port name the way Services and policies do: the first declared port with this name and protocol.
#[must_use]
pub(crate) fn named_port(pod: &Pod, name: &str, protocol: Protocol) -> Option<NonZeroU16> {
    let mut ports = pod.containers.iter().filter(|container| can_declare(container)).flat_map(|c| &c.ports);
    ports.find(|port| port.protocol == protocol && port.name.as_deref() == Some(name)).map(|port| port.port)
}

/// Returns whether the container's `ports` count as declarations now.
pub(crate) fn can_declare(container: &Container) -> bool {
    match container.kind {
        ContainerKind::Regular | ContainerKind::Sidecar => true,
        ContainerKind::Init => container.running == Some(true),
        ContainerKind::Ephemeral => false,
    }
}

/// A pod as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
    /// UID, as in [`Pod::uid`].
    pub uid: PodUid,
    /// The object that owns the pod; `None` where unknown.
    pub workload: Option<Workload>,
    /// True if the pod uses the node's network.
    pub host_network: bool,
    /// Labels, for filters. Not reported.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Name of the pod's container if it has exactly one besides debug and plain init containers. Not reported.
    pub sole_container: Option<String>,
}

impl PodRef {
    /// Builds the reference of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            workload: pod.workload.clone(),
            host_network: pod.host_network,
            labels: Arc::new(pod.labels.clone()),
            sole_container: sole_container(pod).map(str::to_owned),
        }
    }

    /// Returns true if the reference still describes the pod.
    pub(crate) fn names(&self, pod: &Pod) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&pod.namespace, &pod.name, &pod.uid)
            && (&self.workload, self.host_network) == (&pod.workload, pod.host_network)
            && *self.labels == pod.labels
            && self.sole_container.as_deref() == sole_container(pod)
    }
}

fn sole_container(pod: &Pod) -> Option<&str> {
    let mut lasting = pod.containers.iter().filter(|container| container.kind.is_lasting());
    let only = lasting.next()?;
    lasting.next().is_none().then_some(&only.name)
}

impl ContainerKind {
    /// Returns true if the container belongs to the pod for its whole life, unlike debug containers and plain init containers.
    const fn is_lasting(self) -> bool {
        match self {
            Self::Regular | Self::Sidecar => true,
            Self::Init | Self::Ephemeral => false,
        }
    }
}

/// Formats the pod as `NAMESPACE/NAME`.
pub(crate) fn label(pod: &Pod) -> Arc<str> {
    format!("{}/{}", pod.namespace, pod.name).into()
}

impl ProbeHandler {
    /// Returns the name as a container's spec writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
            Self::Startup => "startupProbe",
            Self::PostStart => "postStart",
            Self::PreStop => "preStop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debug_or_init_container_does_not_change_which_container_is_the_only_one() {
        let container = |name: &str, kind| Container { name: name.to_owned(), kind, ..Container::default() };
        let sole = |others: &[(&str, ContainerKind)]| {
            let mut containers = vec![container("app", ContainerKind::Regular)];
            containers.extend(others.iter().map(|(name, kind)| container(name, *kind)));
            PodRef::of(&Pod { containers, ..Pod::default() }).sole_container
        };
        let app = Some("app".to_owned());
        assert_eq!(sole(&[]), app);
        assert_eq!(sole(&[("debugger", ContainerKind::Ephemeral), ("migrate", ContainerKind::Init)]), app);
        assert_eq!(sole(&[("proxy", ContainerKind::Sidecar)]), None);
        assert_eq!(sole(&[("web", ContainerKind::Regular)]), None);
    }
}
