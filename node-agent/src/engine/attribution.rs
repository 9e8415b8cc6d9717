//! Which pod, and which of its containers, a listener belongs to: by the netns first, by the process's cgroup where the
//! netns is shared or unknown.

use super::identity::PodUid;
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
    let pod = by_cgroup(pods, process?.cgroup.as_deref()?)?;
    let host_network = pods.get(pod).is_some_and(|record| record.pod.host_network);
    (host_network == is_host).then_some(Attribution { pod, main_netns: host_network })
}

/// The container: the one whose id is in the cgroup path, else the only one that declares the port, else the only one.
#[must_use]
pub fn container<'a>(
    pod: &'a Pod,
    process: Option<&Process>,
    declaring: &[&'a Container],
) -> Option<&'a Container> {
    let known = pod.containers.iter().find(|container| runs_in(process, container));
    if known.is_some() {
        return known;
    }
    match declaring {
        [one] => Some(one),
        [] => {
            let mut serving = pod.containers.iter().filter(|c| {
                matches!(c.kind, ContainerKind::Regular | ContainerKind::Sidecar | ContainerKind::Ephemeral)
            });
            let first = serving.next();
            if serving.next().is_none() { first } else { None }
        }
        _ => None,
    }
}

/// True if the listener was certainly opened by a debug container.
#[must_use]
pub fn is_ephemeral(container: Option<&Container>, process: Option<&Process>) -> bool {
    container
        .is_some_and(|container| container.kind == ContainerKind::Ephemeral && runs_in(process, container))
}

/// True if the process certainly runs in this container: a part of its cgroup path ends in the container's id, be it bare
/// or behind the runtime's prefix (`cri-containerd-ID.scope`).
#[must_use]
pub fn runs_in(process: Option<&Process>, container: &Container) -> bool {
    let Some(cgroup) = process.and_then(|process| process.cgroup.as_deref()) else { return false };
    let id = bare_id(&container.id).as_bytes();
    let names_it = |part: &[u8]| {
        let part = part.strip_suffix(b".scope").unwrap_or(part);
        part.strip_suffix(id).is_some_and(|before| before.is_empty() || before.ends_with(b"-"))
    };
    id.len() >= 12 && cgroup.as_bytes().rsplit(|byte| matches!(byte, b'/' | b':')).any(names_it)
}

/// Reads from the right: the innermost `pod<UID>` that is known wins; `_` may stand for `-`.
fn by_cgroup(pods: &PodIndex, cgroup: &str) -> Option<PodKey> {
    cgroup.rsplit(['/', ':']).find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let (_, uid) = part.rsplit_once("pod")?;
        let uid = PodUid(uid.replace('_', "-"));
        pods.by_uid(&uid)
    })
}

/// A container id without the runtime's scheme (`containerd://`).
fn bare_id(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(_, bare)| bare)
}
