//! Which pod a listener belongs to: by its netns first, by the process's cgroup where the netns is shared or unknown.

use crate::model::identity::{PodKey, PodUid};
use crate::model::netns::NetnsFacts;
use crate::model::process::Process;
use crate::rules::cgroup;

/// How attribution looks pods up.
pub(crate) trait PodLookup {
    /// The pod whose netns is mounted at this path.
    fn by_path(&self, path: &str) -> Option<PodKey>;
    /// The pod with this UID, its own or its mirror's.
    fn by_uid(&self, uid: &PodUid) -> Option<PodKey>;
    /// True if the pod uses the node's network.
    fn uses_host_network(&self, pod: PodKey) -> bool;
}

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
    pods: &impl PodLookup,
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
    let host_network = pods.uses_host_network(pod);
    (host_network == is_host).then_some(Attribution { pod, main_netns: host_network })
}
