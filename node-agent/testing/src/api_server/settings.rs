//! Behaviour of the server that a test may choose, apart from faults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::api_server::fault::StreamedLists;
use crate::api_server::pod_outcome::PodOutcome;

/// How the server behaves when no fault is injected.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bearer token that every request must carry; `None` admits all requests.
    pub token: Option<String>,
    pub streamed_lists: StreamedLists,
    /// API groups that the server does not serve, as if their definitions were not installed.
    pub absent_groups: Vec<&'static str>,
    /// Interval of bookmarks in a watch. The real server sends one a minute.
    pub bookmark_every: Duration,
    /// Maximum duration of a watch.
    pub watches_last: Option<Duration>,
    /// Every watch is opened with status 200 and ended without an event.
    pub watches_end_at_once: bool,
    /// Addresses that port-forward connects to, by pod name and port. Other ports are refused.
    pub forwards: BTreeMap<(String, u16), SocketAddr>,
    /// What the user may not do, as `VERB RESOURCE` (`list nodes`, `get pods/portforward`). Requests for objects and for
    /// port-forwards are refused with status 403, and reviews of access say so.
    pub forbidden: Vec<&'static str>,
    /// What becomes of the pod of a Job, by node. On other nodes it stays pending.
    pub job_pods: BTreeMap<String, PodOutcome>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: None,
            streamed_lists: StreamedLists::Served,
            absent_groups: Vec::new(),
            bookmark_every: Duration::from_secs(60),
            watches_last: None,
            watches_end_at_once: false,
            forwards: BTreeMap::new(),
            forbidden: Vec::new(),
            job_pods: BTreeMap::new(),
        }
    }
}
