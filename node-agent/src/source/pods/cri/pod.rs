//! Assembles a pod for the engine from sandbox, sandbox details, and containers.

use std::collections::{BTreeMap, HashMap};

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::pod::{self, ContainerKind, Pod};

use super::annotations::{self, Declared};
use super::details::Details;
use super::known_images::KnownImages;
use super::messages::{CONTAINER_RUNNING, Container, PodSandbox};
use super::owner;
use crate::source::kubernetes::objects::probe::OwnHosts;

const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Prefix of kubelet's own labels; all others are labels of the pod.
const KUBELET_LABELS: &str = "io.kubernetes.pod.";
/// Maximum length of a name, of an image, and of a label, in characters; Kubernetes allows fewer.
const MAX_NAME: usize = 512;
/// Maximum number of labels.
const MAX_LABELS: usize = 256;
/// Maximum number of containers of one pod.
const MAX_CONTAINERS: usize = 256;

/// Returns the UID of a sandbox's pod: kubelet's hash for a static pod, and the sandbox's id if there is no UID.
pub(super) fn uid(sandbox: &PodSandbox) -> PodUid {
    let of_metadata = sandbox.metadata.as_ref().map(|metadata| &metadata.uid);
    let given = [sandbox.labels.get(POD_UID), of_metadata].into_iter().flatten().find(|uid| !uid.is_empty());
    PodUid(shortened(given.unwrap_or(&sandbox.id)))
}

/// Returns the name of a container.
pub(super) fn container_name(container: &Container) -> &str {
    let of_metadata = container.metadata.as_ref().map(|metadata| &metadata.name);
    let given = [container.labels.get(CONTAINER_NAME), of_metadata].into_iter().flatten();
    given.map(String::as_str).find(|name| !name.is_empty()).unwrap_or(&container.id)
}

/// Assembles the pod; adds the number of invalid entries to `invalid`, by container id.
pub(super) fn assemble(
    sandbox: &PodSandbox,
    details: Option<&Details>,
    containers: &[&Container],
    images: &KnownImages,
    invalid: &mut BTreeMap<String, u64>,
) -> Pod {
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    let of = |key: &str, else_: &str| {
        let label = sandbox.labels.get(key).map(String::as_str).filter(|text| !text.is_empty());
        shortened(label.unwrap_or(else_))
    };
    let name = of(POD_NAME, &metadata.name);
    let unknown = Details::default();
    let details = details.unwrap_or(&unknown);
    let beyond = containers.len().saturating_sub(MAX_CONTAINERS);
    if beyond > 0 {
        invalid.insert(sandbox.id.clone(), u64::try_from(beyond).unwrap_or(u64::MAX));
    }
    let own = details.addresses.clone();
    let hosts = if details.host_network { OwnHosts::Node(own) } else { OwnHosts::Pod(own) };
    let containers: Vec<pod::Container> = containers
        .iter()
        .take(MAX_CONTAINERS)
        .map(|container| {
            let declared = annotations::declared(&container.annotations, &hosts);
            if declared.invalid > 0 {
                invalid.insert(container.id.clone(), declared.invalid);
            }
            convert(container, declared, images)
        })
        .collect();
    Pod {
        uid: uid(sandbox),
        namespace: of(POD_NAMESPACE, &metadata.namespace),
        workload: owner::workload(&name, &sandbox.labels),
        name,
        host_network: details.host_network,
        labels: labels(&sandbox.labels),
        annotations: annotations::selected(&sandbox.annotations),
        containers,
        addresses: details.addresses.clone(),
        netns_path: details.netns_path.clone(),
        opaque_runtime: details.opaque_runtime(&sandbox.runtime_handler),
        ..Pod::default()
    }
}

fn convert(container: &Container, declared: Declared, images: &KnownImages) -> pod::Container {
    pod::Container {
        name: shortened(container_name(container)),
        id: shortened(&container.id),
        image: shortened(images.reference(container)),
        image_digest: images.digest(container).unwrap_or_default().to_owned(),
        kind: ContainerKind::Regular,
        running: Some(container.state == CONTAINER_RUNNING),
        ports: declared.ports,
        probes: declared.probes,
    }
}

fn labels(all: &HashMap<String, String>) -> BTreeMap<String, String> {
    let own = all.iter().filter(|(key, value)| {
        !key.starts_with(KUBELET_LABELS) && key.len() <= MAX_NAME && value.len() <= MAX_NAME
    });
    let mut own: Vec<_> = own.collect();
    own.sort();
    own.into_iter().take(MAX_LABELS).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}
