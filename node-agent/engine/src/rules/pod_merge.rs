//! Merges what several sources report about one pod, field by field. The runtime knows what runs and where, the API
//! server knows spec and status, a file is the weakest source.

use std::sync::Arc;

use crate::model::pod::{Container, Pod, PodSource};

/// What each source reports about one pod.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PodSources<'a> {
    /// The container runtime.
    runtime: Option<&'a Arc<Pod>>,
    /// The API server.
    server: Option<&'a Arc<Pod>>,
    /// A manifest file.
    file: Option<&'a Arc<Pod>>,
}

impl<'a> PodSources<'a> {
    /// Adds one source's report.
    pub(crate) fn add(&mut self, source: PodSource, pod: &'a Arc<Pod>) {
        let slot = match source {
            PodSource::Runtime => &mut self.runtime,
            PodSource::ApiServer => &mut self.server,
            PodSource::File => &mut self.file,
        };
        *slot = Some(pod);
    }

    /// Merges the reports; `None` if no source knows the pod.
    #[must_use]
    pub(crate) fn merge(mut self) -> Option<Arc<Pod>> {
        let strongest = self.runtime.or(self.server).or(self.file)?;
        // A UID from an annotation (of a static pod's mirror) may be forged, so the name must match too.
        let same = |pod: &&Arc<Pod>| (&pod.namespace, &pod.name) == (&strongest.namespace, &strongest.name);
        self.server = self.server.filter(same);
        self.file = self.file.filter(same);
        let count = [self.runtime, self.server, self.file].into_iter().flatten().count();
        Some(if count == 1 { Arc::clone(strongest) } else { Arc::new(self.join(strongest)) })
    }

    fn join(&self, strongest: &Pod) -> Pod {
        // Labels and annotations change during a pod's life; the runtime keeps the initial ones.
        let described = self.server.map_or(strongest, Arc::as_ref);
        let by_spec = [self.server, self.file, self.runtime];
        let by_runtime = [self.runtime, self.server, self.file];
        let mut addresses: Vec<_> =
            by_runtime.iter().flatten().flat_map(|pod| pod.addresses.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Pod {
            uid: strongest.uid.clone(),
            namespace: strongest.namespace.clone(),
            name: strongest.name.clone(),
            workload: first(&by_spec, |pod| pod.workload.clone()),
            host_network: strongest.host_network,
            labels: described.labels.clone(),
            annotations: described.annotations.clone(),
            containers: self.containers(),
            addresses,
            netns_path: first(&by_runtime, |pod| pod.netns_path.clone()).filter(|_| !strongest.host_network),
            mirror: first(&by_spec, |pod| pod.mirror.clone()),
            ready: first(&by_spec, |pod| pod.ready),
            service_ready: first(&by_spec, |pod| pod.service_ready),
            draining: by_spec.iter().flatten().any(|pod| pod.draining),
            opaque_runtime: first(&by_runtime, |pod| pod.opaque_runtime.clone()),
        }
    }

    /// Merges the containers, in the order of the spec. Containers that only the runtime knows come last, such as a
    /// debug container that started a moment ago.
    fn containers(&self) -> Vec<Container> {
        let mut all: Vec<Container> = Vec::new();
        for pod in [self.server, self.file, self.runtime].into_iter().flatten() {
            for container in &pod.containers {
                if !all.iter().any(|known| known.name == container.name) {
                    all.push(self.container(&container.name));
                }
            }
        }
        all
    }

    fn container(&self, name: &str) -> Container {
        let of = |pod: Option<&'a Arc<Pod>>| pod.and_then(|pod| named(pod, name));
        let (runtime, server, file) = (of(self.runtime), of(self.server), of(self.file));
        let by_spec = [server, file, runtime];
        let by_runtime = [runtime, server, file];
        // Ports never change after creation. A file may be older than the pod, so it only fills a gap.
        let ports = [server, runtime, file.filter(|_| server.is_none())];
        let id = first(&by_runtime, |container| filled(&container.id)).unwrap_or_default();
        // A status may be of an earlier container, whose image was another one.
        let is_of_this = |container: &Container| container.id.is_empty() || container.id == id;
        let digest =
            |container: &Container| filled(&container.image_digest).filter(|_| is_of_this(container));
        Container {
            name: name.to_owned(),
            image_digest: first(&by_runtime, digest).unwrap_or_default(),
            id,
            image: first(&[server, runtime, file], |container| filled(&container.image)).unwrap_or_default(),
            kind: first(&by_spec, |container| Some(container.kind)).unwrap_or_default(),
            running: first(&by_runtime, |container| container.running),
            ports: first(&ports, |c| (!c.ports.is_empty()).then(|| c.ports.clone())).unwrap_or_default(),
            probes: first(&by_spec, |c| (!c.probes.is_empty()).then(|| c.probes.clone())).unwrap_or_default(),
        }
    }
}

/// Returns the container of that name. A runtime lists ended containers too: prefers the running one, else the last.
fn named<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let mut all = pod.containers.iter().filter(|container| container.name == name);
    let running = all.clone().find(|container| container.running == Some(true));
    running.or_else(|| all.next_back())
}

/// Returns the first value that a source has.
fn first<S, T, V>(sources: &[Option<S>], field: impl Fn(&T) -> Option<V>) -> Option<V>
where
    S: std::ops::Deref<Target = T>,
{
    sources.iter().flatten().find_map(|source| field(source))
}

/// Returns the text unless it is empty.
fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
