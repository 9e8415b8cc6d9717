//! Which container of a pod a process runs in.

use crate::model::pod::{Container, ContainerKind, Pod};
use crate::model::process::Process;
use crate::rules::cgroup;

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
