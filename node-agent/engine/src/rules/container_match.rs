//! Which container of a pod a process runs in.

use crate::model::pod::{Container, ContainerKind, Pod};
use crate::model::process::Process;
use crate::rules::cgroup;

/// Returns the container that a process of the pod runs in: the one whose id is in the process's cgroup path, else the
/// only one that can run it. Never a guess: a container that is known not to run cannot, nor one whose id is known but
/// not in the path. An init container that runs leaves the answer open, because it may have ended since.
#[must_use]
pub(crate) fn container<'a>(pod: &'a Pod, process: Option<&Process>) -> Option<&'a Container> {
    // The root cgroup means that the agent could not see the path below it.
    let path = process.and_then(|process| process.cgroup.as_deref()).filter(|path| *path != "/");
    if let Some(path) = path {
        let named = pod.containers.iter().filter_map(|one| Some((cgroup::position(path, &one.id)?, one)));
        if let Some((_, own)) = named.min_by_key(|(position, _)| *position) {
            return Some(own);
        }
    }
    let mut able = pod.containers.iter().filter(|container| {
        let runs = match container.kind {
            ContainerKind::Regular | ContainerKind::Sidecar | ContainerKind::Ephemeral => {
                container.running != Some(false)
            }
            ContainerKind::Init => container.running == Some(true),
        };
        runs && (path.is_none() || !cgroup::is_searchable(&container.id))
    });
    let first = able.next().filter(|first| first.kind != ContainerKind::Init);
    if able.next().is_none() { first } else { None }
}

/// Returns true if a debug container certainly opened the listener.
#[must_use]
pub(crate) fn is_ephemeral(container: Option<&Container>, process: Option<&Process>) -> bool {
    container
        .is_some_and(|container| container.kind == ContainerKind::Ephemeral && runs_in(process, container))
}

/// Returns true if the process certainly runs in this container: its cgroup path contains the container's id.
#[must_use]
pub(crate) fn runs_in(process: Option<&Process>, container: &Container) -> bool {
    let path = process.and_then(|process| process.cgroup.as_deref());
    path.is_some_and(|path| cgroup::position(path, &container.id).is_some())
}
