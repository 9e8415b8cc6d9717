//! Assembles a pod for the engine from sandbox, sandbox details, and containers.

use std::collections::{BTreeMap, HashMap};

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::pod::{self, ContainerKind, Pod};

use super::annotations::{self, Declared};
use super::details::Details;
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
    images: &HashMap<String, String>,
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

fn convert(container: &Container, declared: Declared, images: &HashMap<String, String>) -> pod::Container {
    pod::Container {
        name: shortened(container_name(container)),
        id: shortened(&container.id),
        image: shortened(image(container, images)),
        kind: ContainerKind::Regular,
        running: Some(container.state == CONTAINER_RUNNING),
        ports: declared.ports,
        probes: declared.probes,
    }
}

/// Returns the image as in the manifest if that is known, else the first tag of the image, else the image id.
fn image<'a>(container: &'a Container, images: &'a HashMap<String, String>) -> &'a str {
    let Some(spec) = &container.image else { return &container.image_ref };
    if !spec.user_specified_image.is_empty() {
        return &spec.user_specified_image;
    }
    if !spec.image.is_empty() && !is_digest(&spec.image) {
        return &spec.image;
    }
    let id = if spec.image.is_empty() { &container.image_ref } else { &spec.image };
    image_ids(container).find_map(|id| images.get(id)).unwrap_or(id)
}

/// Returns the ids under which the list of images may have a container's image; empty if the name is already known.
pub(super) fn unnamed_image(container: &Container) -> Vec<&str> {
    let named = container.image.as_ref().is_some_and(|spec| {
        !spec.user_specified_image.is_empty() || !spec.image.is_empty() && !is_digest(&spec.image)
    });
    if named { Vec::new() } else { image_ids(container).collect() }
}

fn image_ids(container: &Container) -> impl Iterator<Item = &str> {
    let of_spec = container.image.as_ref().map_or("", |spec| &spec.image);
    [of_spec, &container.image_id, &container.image_ref].into_iter().filter(|id| !id.is_empty())
}

/// True for an image id: `sha256:…`, or the bare digest.
fn is_digest(image: &str) -> bool {
    let bare = image.strip_prefix("sha256:").unwrap_or(image);
    bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
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
