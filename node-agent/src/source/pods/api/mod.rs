//! Pods of this node from the API server, reduced to what the engine needs: some KiB each, instead of 67 KiB for the type of
//! the Kubernetes client.

mod container;
mod schema;

use std::net::IpAddr;

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::{Container, ContainerKind, Pod, PodSource, Workload};

use self::container::containers;
use self::schema::{PodSpec, PodStatus};
use crate::source::kubernetes::kind::{Kind, Parsed, Parts};
use crate::source::kubernetes::object::{Cuts, Metadata, Owner};
use crate::source::pods::owner::workload;
use crate::state::Source;

/// This source, in the engine's inputs.
const SOURCE: PodSource = PodSource::ApiServer;
/// Annotation that kubelet sets on the mirror of a static pod: kubelet's own UID of the pod, which cgroups and the runtime use.
const MIRROR_OF: &str = "kubernetes.io/config.mirror";
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Prefixes of the annotations that the agent reads.
const READ: [&str; 2] = ["prometheus.io/", "portolan.dev/"];
/// Domains of the annotations of service meshes; subdomains count as well.
const MESHES: [&str; 4] = ["istio.io", "linkerd.io", "kuma.io", "consul.hashicorp.com"];
const MAX_ADDRESSES: usize = 16;
const MAX_OWNERS: usize = 16;

/// Source of the pods of one node.
pub struct NodePods {
    node: String,
}

impl NodePods {
    #[must_use]
    pub fn new(node: String) -> Self {
        Self { node }
    }

    /// True for a pod that has no socket on this node: it has ended, or runs elsewhere. Its address may be that of another pod
    /// by now.
    fn is_nothing(&self, spec: &PodSpec, status: &PodStatus) -> bool {
        let elsewhere = spec.node_name.0.as_deref().is_some_and(|node| node != self.node);
        elsewhere || matches!(status.phase.0.as_deref(), Some("Succeeded" | "Failed"))
    }
}

impl Kind for NodePods {
    type Spec = PodSpec;
    type Status = PodStatus;
    type Key = PodUid;
    type Item = Pod;

    const SOURCE: Source = Source::Pods;
    const PATH: &'static str = "/api/v1/pods";
    const PARTS: Parts = Parts::Whole;
    const MOST: usize = 4096;

    fn field_selector(&self) -> Option<String> {
        Some(format!("spec.nodeName={}", self.node))
    }

    fn read(
        &self,
        metadata: Metadata,
        spec: Option<PodSpec>,
        status: Option<PodStatus>,
        cuts: &mut Cuts,
    ) -> Option<Parsed<PodUid, Pod>> {
        let (spec, has_status) = (spec.unwrap_or_default(), status.is_some());
        let status = status.unwrap_or_default();
        if self.is_nothing(&spec, &status) {
            let (uid, _) = identity(&metadata, &self.node)?;
            return Some(Parsed { key: uid, item: None });
        }
        let pod = pod(metadata, spec, status, &self.node, cuts)?;
        let pod = Pod { ready: pod.ready.filter(|_| has_status), ..pod };
        Some(Parsed { key: pod.uid.clone(), item: Some(pod) })
    }

    fn all(&mut self, pods: Vec<Pod>) -> Input {
        Input::Pods { source: SOURCE, pods }
    }

    fn changed(&mut self, pod: Pod) -> Input {
        Input::PodChanged { source: SOURCE, pod: Box::new(pod) }
    }

    fn gone(&mut self, uid: PodUid) -> Input {
        Input::PodGone { source: SOURCE, uid }
    }

    fn unavailable(&mut self) -> Option<Input> {
        // Known pods stay, since the runtime and the cgroups still name them.
        None
    }
}

/// Returns the UID that cgroups and the runtime use, and the API server's UID if that differs.
fn identity(metadata: &Metadata, node: &str) -> Option<(PodUid, Option<PodUid>)> {
    let uid = metadata.uid.0.clone().filter(|uid| !uid.is_empty() && uid.len() <= 64)?;
    let is_mirror = metadata.annotation(MIRROR_OF).is_some() && is_owned_by(metadata, node);
    let hash = metadata.annotation(CONFIG_HASH).or(metadata.annotation(MIRROR_OF));
    match hash.filter(|hash| is_mirror && is_hash(hash)) {
        Some(hash) => Some((PodUid(hash.to_owned()), Some(PodUid(uid)))),
        None => Some((PodUid(uid), None)),
    }
}

/// True for a hash in the form that kubelet makes of a manifest. Anybody may write the annotation, but the API server never
/// gives a pod a UID of this form.
fn is_hash(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// True if the node owns the pod. Kubelet sets the node as owner of every mirror; an annotation alone proves nothing.
fn is_owned_by(metadata: &Metadata, node: &str) -> bool {
    let owners = metadata.owner_references.0.iter().flatten().filter_map(|owner| owner.0.as_ref());
    owners.into_iter().any(|owner| {
        (owner.kind.0.as_deref(), owner.name.0.as_deref()) == (Some("Node"), Some(node))
            && owner.controller.0 == Some(true)
    })
}

fn pod(mut metadata: Metadata, spec: PodSpec, status: PodStatus, node: &str, cuts: &mut Cuts) -> Option<Pod> {
    let (uid, mirror) = identity(&metadata, node)?;
    let (namespace, name) = metadata.take_key(cuts)?;
    let labels = metadata.take_labels(cuts);
    let annotations = metadata.take_annotations(is_read, cuts);
    let owners = std::mem::take(&mut metadata.owner_references).entries(MAX_OWNERS, cuts);
    let owner = owners.into_iter().find(|owner| owner.controller.0 == Some(true));
    let host_network = spec.host_network.0.unwrap_or(false);
    let addresses = addresses(&status, cuts);
    let containers = containers(spec, &status, cuts);
    Some(Pod {
        uid,
        mirror,
        workload: owner.and_then(|owner| owner_of(owner, labels.get("pod-template-hash"))),
        ready: ready(&status, &containers),
        namespace,
        name,
        host_network,
        labels,
        annotations,
        containers,
        addresses,
        ..Pod::default()
    })
}

fn is_read(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    READ.iter().any(|start| key.starts_with(start))
        || MESHES
            .iter()
            .any(|mesh| domain.strip_suffix(mesh).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn owner_of(owner: Owner, template_hash: Option<&String>) -> Option<Workload> {
    let (kind, name) = (owner.kind.0?, owner.name.0?);
    Some(workload(&kind, &name, template_hash.map(String::as_str)))
}

fn addresses(status: &PodStatus, cuts: &mut Cuts) -> Vec<IpAddr> {
    let many = status.pod_ips.clone().entries(MAX_ADDRESSES, cuts).filter_map(|ip| ip.ip.0);
    let mut addresses: Vec<IpAddr> =
        status.pod_ip.0.clone().into_iter().chain(many).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.shrink_to_fit();
    addresses
}

/// Returns kubelet's condition ContainersReady, else whether all regular containers are ready.
fn ready(status: &PodStatus, containers: &[Container]) -> Option<bool> {
    let conditions = status.conditions.0.iter().flatten().filter_map(|condition| condition.0.as_ref());
    let said =
        conditions.into_iter().find(|condition| condition.kind.0.as_deref() == Some("ContainersReady"));
    if let Some(said) = said.and_then(|condition| condition.status.0.as_deref()) {
        return Some(said == "True");
    }
    let mut known =
        status.container_statuses.0.iter().flatten().filter_map(|status| status.0.as_ref()).peekable();
    known.peek()?;
    let staying = containers.iter().filter(|c| c.kind == ContainerKind::Regular).count();
    let ready = known.filter(|status| status.ready.0 == Some(true)).count();
    Some(ready >= staying)
}

#[cfg(test)]
mod tests;
