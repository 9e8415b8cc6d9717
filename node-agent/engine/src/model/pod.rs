//! A pod independent of the source that reported it: identity, where it runs, and what its containers declare.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::{PodUid, Protocol};

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub uid: PodUid,
    pub namespace: String,
    pub name: String,
    pub workload: Option<Workload>,
    pub host_network: bool,
    pub labels: BTreeMap<String, String>,
    /// Only those that something here reads (`prometheus.io/*`, `portolan.dev/*`, a mesh's), each bounded by its source.
    pub annotations: BTreeMap<String, String>,
    pub containers: Vec<Container>,
    /// status.podIPs, as far as the source knows them.
    pub addresses: Vec<IpAddr>,
    /// Canonical path of its netns (`/run/netns/NAME`); `None` for hostNetwork or where the source does not know.
    pub netns_path: Option<String>,
    /// The API server's UID of a static pod's mirror; `uid` is then kubelet's hash, which cgroups and the runtime carry.
    pub mirror: Option<PodUid>,
    /// Every container is ready; `None` where the source does not know.
    pub ready: Option<bool>,
    /// Name of a runtime whose sockets this kernel does not see (Kata, gVisor).
    pub opaque_runtime: Option<String>,
}

/// How much of a pod differs from what was said of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// What changes most often, and no port is judged by it.
    Readiness,
    /// What selects the pod, too.
    Labels,
    More,
}

impl Pod {
    /// What the two differ in at most.
    #[must_use]
    pub fn extent_of_change(&self, other: &Self) -> Extent {
        // Every field is named, so that a new one is not forgotten here.
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
    pub kind: String,
    pub name: String,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    /// Runtime's id; empty where the source does not know.
    pub id: String,
    pub image: String,
    pub kind: ContainerKind,
    /// `None` where the source does not know.
    pub running: Option<bool>,
    pub ports: Vec<DeclaredPort>,
    /// Ports that its probes and lifecycle handlers call.
    pub probes: Vec<ProbePort>,
}

/// A port that kubelet calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePort {
    pub handler: ProbeHandler,
    pub port: PortRef,
}

/// What calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeHandler {
    Liveness,
    Readiness,
    Startup,
    PostStart,
    PreStop,
}

/// A port as objects refer to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRef {
    Number(NonZeroU16),
    /// The name of a container's declared port.
    Name(String),
}

/// Which of a pod's lists a container stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerKind {
    /// Also where the source cannot tell: the runtime does not know a sidecar from a debug container.
    #[default]
    Regular,
    /// An init container with restartPolicy Always.
    Sidecar,
    /// A plain init container: declares only while it runs.
    Init,
    /// A debug container: can never declare.
    Ephemeral,
}

/// One entry of a container's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredPort {
    pub name: Option<String>,
    pub port: NonZeroU16,
    pub protocol: Protocol,
    pub host_port: Option<NonZeroU16>,
}

/// True for runtimes, by the name of their class or handler, whose sockets this node's kernel does not see: they run the pod
/// in a virtual machine, or with a network stack of their own.
#[must_use]
pub fn hides_sockets(runtime: &str) -> bool {
    let runtime = runtime.to_ascii_lowercase();
    ["kata", "gvisor", "runsc", "firecracker", "krun"].iter().any(|name| runtime.contains(name))
}

/// The port that a container declares under this name with this protocol, as Services and policies resolve it.
#[must_use]
pub fn named_port(pod: &Pod, name: &str, protocol: Protocol) -> Option<NonZeroU16> {
    let mut ports = pod.containers.iter().filter(|container| can_declare(container)).flat_map(|c| &c.ports);
    ports.find(|port| port.protocol == protocol && port.name.as_deref() == Some(name)).map(|port| port.port)
}

/// A plain init container only while it runs.
pub(crate) fn can_declare(container: &Container) -> bool {
    match container.kind {
        ContainerKind::Regular | ContainerKind::Sidecar => true,
        ContainerKind::Init => container.running == Some(true),
        ContainerKind::Ephemeral => false,
    }
}

/// A pod, as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    pub namespace: String,
    pub name: String,
    pub uid: PodUid,
    pub workload: Option<Workload>,
    pub host_network: bool,
    /// For filters; not reported.
    pub labels: Arc<BTreeMap<String, String>>,
}

impl PodRef {
    /// The names of this pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            workload: pod.workload.clone(),
            host_network: pod.host_network,
            labels: Arc::new(pod.labels.clone()),
        }
    }

    /// True if it names this pod as it is now.
    pub(crate) fn names(&self, pod: &Pod) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&pod.namespace, &pod.name, &pod.uid)
            && (&self.workload, self.host_network) == (&pod.workload, pod.host_network)
            && *self.labels == pod.labels
    }
}

pub(crate) fn label(pod: &Pod) -> Arc<str> {
    format!("{}/{}", pod.namespace, pod.name).into()
}

impl ProbeHandler {
    /// As the container's spec writes it.
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
