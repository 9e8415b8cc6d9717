//! Merges what several sources report about one pod, field by field. The runtime knows what runs and where, the API
//! server knows spec and status, a file is the weakest source.

use std::sync::Arc;

use crate::model::pod::{Container, Pod};

/// What the sources say of one pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodSources<'a> {
    runtime: Option<&'a Arc<Pod>>,
    server: Option<&'a Arc<Pod>>,
    file: Option<&'a Arc<Pod>>,
}

impl<'a> PodSources<'a> {
    /// Takes one source's word in.
    pub fn add(&mut self, source: &str, pod: &'a Arc<Pod>) {
        let place = match source {
            "cri" => &mut self.runtime,
            "kubernetes" => &mut self.server,
            _ => &mut self.file,
        };
        *place = Some(pod);
    }

    /// The pod as it is; `None` if no source knows it.
    #[must_use]
    pub fn merge(mut self) -> Option<Arc<Pod>> {
        let strongest = self.runtime.or(self.server).or(self.file)?;
        // A UID that a source takes from an annotation (a static pod's mirror) may be a lie: the name must fit, too.
        let same = |pod: &&Arc<Pod>| (&pod.namespace, &pod.name) == (&strongest.namespace, &strongest.name);
        self.server = self.server.filter(same);
        self.file = self.file.filter(same);
        let count = [self.runtime, self.server, self.file].into_iter().flatten().count();
        Some(if count == 1 { Arc::clone(strongest) } else { Arc::new(self.join(strongest)) })
    }

    fn join(&self, strongest: &Pod) -> Pod {
        // Labels and annotations change during a pod's life; the runtime keeps those of its beginning.
        let described = self.server.map_or(strongest, Arc::as_ref);
        let asked = [self.server, self.file, self.runtime];
        let seen = [self.runtime, self.server, self.file];
        let mut addresses: Vec<_> =
            seen.iter().flatten().flat_map(|pod| pod.addresses.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Pod {
            uid: strongest.uid.clone(),
            namespace: strongest.namespace.clone(),
            name: strongest.name.clone(),
            workload: first(&asked, |pod| pod.workload.clone()),
            host_network: strongest.host_network,
            labels: described.labels.clone(),
            annotations: described.annotations.clone(),
            containers: self.containers(),
            addresses,
            netns_path: first(&seen, |pod| pod.netns_path.clone()).filter(|_| !strongest.host_network),
            mirror: first(&asked, |pod| pod.mirror.clone()),
            ready: first(&asked, |pod| pod.ready),
            opaque_runtime: first(&seen, |pod| pod.opaque_runtime.clone()),
        }
    }

    /// In the order of the spec; what only the runtime knows comes last (a debug container that was started a moment ago).
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
        let asked = [server, file, runtime];
        let seen = [runtime, server, file];
        // Ports never change after creation; a file may be older than the pod, so that it only fills a gap.
        let ports = [server, runtime, file.filter(|_| server.is_none())];
        Container {
            name: name.to_owned(),
            id: first(&seen, |container| filled(&container.id)).unwrap_or_default(),
            image: first(&[server, runtime, file], |container| filled(&container.image)).unwrap_or_default(),
            kind: first(&asked, |container| Some(container.kind)).unwrap_or_default(),
            running: first(&seen, |container| container.running),
            ports: first(&ports, |c| (!c.ports.is_empty()).then(|| c.ports.clone())).unwrap_or_default(),
            probes: first(&asked, |c| (!c.probes.is_empty()).then(|| c.probes.clone())).unwrap_or_default(),
        }
    }
}

/// The container of that name; of several (a runtime keeps those that ended) the one that runs, else the last.
fn named<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let mut all = pod.containers.iter().filter(|container| container.name == name);
    let running = all.clone().find(|container| container.running == Some(true));
    running.or_else(|| all.next_back())
}

/// The first that has something to say.
fn first<S, T, V>(sources: &[Option<S>], field: impl Fn(&T) -> Option<V>) -> Option<V>
where
    S: std::ops::Deref<Target = T>,
{
    sources.iter().flatten().find_map(|source| field(source))
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
