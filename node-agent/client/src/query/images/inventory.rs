//! Sums over all listeners of an image's port.

use std::collections::{BTreeMap, BTreeSet};

use portolan_report::cells;
use portolan_report::fingerprint::owner;
use portolan_report::wire::{Container, Listener};

/// Images by reference and digest.
pub(crate) type Images = BTreeMap<Image, BTreeMap<(u16, String), Port>>;

/// An image as the pods refer to it and as the runtime pulled it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Image {
    /// Reference, with the digest if the pods give it.
    pub(super) reference: String,
    /// Digest of the manifest that the runtime pulled, else that in the reference; `None` if unknown.
    pub(super) digest: Option<String>,
}

impl Image {
    fn of(container: &Container) -> Self {
        let pinned = || container.image.rsplit_once('@').map(|(_, digest)| digest.to_owned());
        let digest =
            container.image_digest.clone().or_else(|| pinned().filter(|digest| digest.contains(':')));
        Self { reference: container.image.clone(), digest }
    }
}

/// Sums over one port of an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Port {
    /// Name and executable of each process.
    pub(super) processes: BTreeSet<(String, Option<String>)>,
    pub(super) addresses: BTreeSet<String>,
    pub(super) listeners: usize,
    /// Number of listeners whose port is declared.
    pub(super) declared: usize,
    pub(super) connections: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) pods: BTreeSet<String>,
    pub(super) workloads: BTreeSet<String>,
    pub(super) containers: BTreeSet<String>,
    /// True if a caller from outside the cluster was seen.
    pub(super) external: bool,
    /// Time of the latest report.
    pub(super) time: String,
}

/// Groups listeners by image, digest and port.
pub(crate) fn of(listeners: &[Listener]) -> Images {
    let mut images = Images::new();
    for listener in listeners {
        let Some(container) = listener.container.as_ref().filter(|container| !container.image.is_empty())
        else {
            continue;
        };
        let image = Image::of(container);
        let ports = images.entry(image).or_default();
        let port = ports.entry((listener.port, listener.protocol.clone())).or_default();
        port.containers.insert(container.name.clone());
        add(port, listener);
    }
    images
}

/// Returns the number of listeners that [`of`] leaves out, because their image is unknown.
pub(crate) fn without_image(listeners: &[Listener]) -> usize {
    let has_image = |listener: &&Listener| {
        listener.container.as_ref().is_some_and(|container| !container.image.is_empty())
    };
    listeners.len() - listeners.iter().filter(has_image).count()
}

fn add(port: &mut Port, listener: &Listener) {
    let traffic = &listener.traffic;
    let processes = listener.process.iter().chain(&listener.other_processes);
    port.processes.extend(processes.map(|process| (process.name.clone(), process.executable.clone())));
    if listener.process.is_none() && listener.served_by != "process" {
        port.processes.insert((cells::server(listener), None));
    }
    port.addresses.extend(listener.addresses.iter().cloned());
    port.listeners += 1;
    port.declared += usize::from(listener.declaration.status == "declared");
    port.connections = port.connections.saturating_add(traffic.connections);
    port.packets = port.packets.saturating_add(traffic.packets);
    port.bytes = port.bytes.saturating_add(traffic.bytes);
    port.external |= traffic.peers.iter().any(|peer| peer.origin == "external");
    if let Some(pod) = &listener.pod {
        let (kind, name) = owner(pod, &listener.envelope.node);
        port.pods.insert(format!("{}/{}", pod.namespace, pod.name));
        port.workloads.insert(format!("{}/{kind}/{name}", pod.namespace));
    }
    if listener.envelope.time > port.time {
        port.time.clone_from(&listener.envelope.time);
    }
}
