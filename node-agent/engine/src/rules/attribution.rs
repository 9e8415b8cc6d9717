//! Which pod a listener belongs to: by its netns first, by the process's cgroup where the netns is shared or unknown.

use crate::model::identity::{PodKey, PodUid};
use crate::model::netns::NetnsFacts;
use crate::model::process::Process;
use crate::rules::cgroup;

/// Lookups of pods that attribution needs.
pub(crate) trait PodLookup {
    /// Returns the pod whose netns is mounted at this path.
    fn by_path(&self, path: &str) -> Option<PodKey>;
    /// Returns the pod with this UID, its own or its mirror's.
    fn by_uid(&self, uid: &PodUid) -> Option<PodKey>;
    /// Returns true if the pod uses the node's network.
    fn uses_host_network(&self, pod: PodKey) -> bool;
}

/// Returns false for a path at which another netns than the port's is mounted now.
pub(crate) type IsMountedAt<'a> = &'a dyn Fn(&str) -> bool;

/// The pod that a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribution {
    /// The pod.
    pub pod: PodKey,
    /// True if the port is in the pod's own netns, or in the host's for a hostNetwork pod. False for another netns
    /// inside the pod.
    pub main_netns: bool,
}

/// Returns the pod that a port in this netns, served by this process, belongs to.
#[must_use]
pub(crate) fn attribute(
    pods: &impl PodLookup,
    facts: Option<&NetnsFacts>,
    is_at: IsMountedAt<'_>,
    process: Option<&Process>,
) -> Option<Attribution> {
    let is_host = facts.is_some_and(|facts| facts.is_host);
    if !is_host {
        let paths = facts.into_iter().flat_map(|facts| &facts.paths).filter(|path| is_at(path));
        let by_path = paths.into_iter().find_map(|path| pods.by_path(path));
        if let Some(pod) = by_path {
            return Some(Attribution { pod, main_netns: true });
        }
    }
    let pod = cgroup::pod(process?.cgroup.as_deref()?, |uid| pods.by_uid(uid))?;
    let host_network = pods.uses_host_network(pod);
    (host_network == is_host).then_some(Attribution { pod, main_netns: host_network })
}
