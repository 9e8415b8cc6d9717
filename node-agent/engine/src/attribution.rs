//! Which pod, and which of its containers, a listener belongs to: by the netns first, by the process's cgroup where the
//! netns is shared or unknown.

use super::cgroup;
use super::input::{NetnsFacts, Process};
use super::pod::{Container, ContainerKind, Pod};
use super::pod_index::{PodIndex, PodKey};

/// How a pod was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    pub pod: PodKey,
    /// By its netns or as a hostNetwork pod; false for a further netns inside a pod.
    pub main_netns: bool,
}

/// The pod that a port in this netns, served by this process, belongs to.
#[must_use]
pub fn attribute(
    pods: &PodIndex,
    facts: Option<&NetnsFacts>,
    process: Option<&Process>,
) -> Option<Attribution> {
    let is_host = facts.is_some_and(|facts| facts.is_host);
    if !is_host {
        let by_path = facts.into_iter().flat_map(|facts| &facts.paths).find_map(|path| pods.by_path(path));
        if let Some(pod) = by_path {
            return Some(Attribution { pod, main_netns: true });
        }
    }
    let pod = cgroup::pod(process?.cgroup.as_deref()?, |uid| pods.by_uid(uid))?;
    let host_network = pods.get(pod).is_some_and(|record| record.pod.host_network);
    (host_network == is_host).then_some(Attribution { pod, main_netns: host_network })
}

/// The container: the one whose id is in the cgroup path, else the only one that declares the port, else the only one; of
/// those whose id is known and is not in the path, none.
#[must_use]
pub fn container<'a>(
    pod: &'a Pod,
    process: Option<&Process>,
    declaring: &[&'a Container],
) -> Option<&'a Container> {
    // The root says nothing: what is below it was not to be seen.
    let path = process.and_then(|process| process.cgroup.as_deref()).filter(|path| *path != "/");
    if let Some(path) = path {
        let named = pod.containers.iter().filter_map(|one| Some((cgroup::position(path, &one.id)?, one)));
        if let Some((_, own)) = named.min_by_key(|(position, _)| *position) {
            return Some(own);
        }
    }
    let may_be = |container: &Container| path.is_none() || !cgroup::is_telling(&container.id);
    if let [one] = declaring {
        return may_be(one).then_some(one);
    }
    if !declaring.is_empty() {
        return None;
    }
    let mut serving = pod.containers.iter().filter(|c| {
        matches!(c.kind, ContainerKind::Regular | ContainerKind::Sidecar | ContainerKind::Ephemeral)
    });
    let first = serving.next().filter(|first| may_be(first));
    if serving.next().is_none() { first } else { None }
}

/// True if the listener was certainly opened by a debug container.
#[must_use]
pub fn is_ephemeral(container: Option<&Container>, process: Option<&Process>) -> bool {
    container
        .is_some_and(|container| container.kind == ContainerKind::Ephemeral && runs_in(process, container))
}

/// True if the process certainly runs in this container: its cgroup carries the container's id.
#[must_use]
pub fn runs_in(process: Option<&Process>, container: &Container) -> bool {
    let path = process.and_then(|process| process.cgroup.as_deref());
    path.is_some_and(|path| cgroup::position(path, &container.id).is_some())
}
