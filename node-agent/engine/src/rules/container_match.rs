//! Which container of a pod a process runs in.

use crate::model::pod::{Container, ContainerKind, Pod};
use crate::model::process::Process;
use crate::rules::cgroup;

/// Returns the container that serves a port: the one whose id is in the process's cgroup path, else the only one that
/// declares the port, else the only one that can serve. A container whose id is known but not in the path is
/// excluded.
#[must_use]
pub(crate) fn container<'a>(
    pod: &'a Pod,
    process: Option<&Process>,
    declaring: &[&'a Container],
) -> Option<&'a Container> {
    // The root cgroup means that the agent could not see the path below it.
    let path = process.and_then(|process| process.cgroup.as_deref()).filter(|path| *path != "/");
    if let Some(path) = path {
        let named = pod.containers.iter().filter_map(|one| Some((cgroup::position(path, &one.id)?, one)));
        if let Some((_, own)) = named.min_by_key(|(position, _)| *position) {
            return Some(own);
        }
    }
    let may_be = |container: &Container| path.is_none() || !cgroup::is_searchable(&container.id);
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
