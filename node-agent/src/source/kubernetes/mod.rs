//! The API server as a source: lists and watches a few kinds of objects at constant cost, whatever the server answers.
//! What an object means is told by the kinds in `pods/api`, `services`,
//! `policies` and `namespaces`.

mod items;
pub mod kind;
pub mod object;
mod place;
pub mod trial;
mod watch;
pub mod weight;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portolan_engine::model::input::Input;
use tokio::sync::{mpsc, watch as state};
use tokio::task::JoinHandle;

use self::kind::Kind;
use self::watch::Watcher;
use crate::kubernetes_api::access::ApiAccess;
use crate::kubernetes_api::timings::ApiTimings;
use crate::kubernetes_api::turns::Turns;
use crate::source::namespaces::Namespaces;
use crate::source::pods::SourceState;
use crate::source::pods::api::NodePods;
use crate::source::policies::NetworkPolicies;
use crate::source::services::Services;

/// What is watched, and by which credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// Pods of this node only.
    pub node_name: String,
    /// `None`: KUBECONFIG, else the pod's service account, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    pub services: Switch,
    pub policies: Switch,
    pub pace: ApiTimings,
}

/// Whether a kind of object is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    #[default]
    On,
    Off,
}

impl Switch {
    /// On unless it was turned off.
    #[must_use]
    pub fn of(given: Option<bool>) -> Self {
        if given == Some(false) { Self::Off } else { Self::On }
    }
}

/// One kind of object that is being watched.
pub struct Watching {
    /// As status tells it.
    pub source: &'static str,
    pub states: state::Receiver<SourceState>,
    pub task: JoinHandle<()>,
}

/// Watches until the engine is gone. Needs a tokio runtime; returns at once.
#[must_use]
pub fn start(options: &KubernetesOptions, inputs: &mpsc::Sender<Input>) -> Vec<Watching> {
    let link = Arc::new(Link {
        access: ApiAccess::new(options.kubeconfig.clone()),
        turns: Turns::default(),
        pace: options.pace,
        streams_refused: AtomicBool::new(false),
    });
    let mut watching = vec![
        begin(NodePods::new(options.node_name.clone()), &link, inputs),
        begin(Namespaces, &link, inputs),
    ];
    if options.services == Switch::On {
        watching.push(begin(Services, &link, inputs));
    }
    if options.policies == Switch::On {
        watching.push(begin(NetworkPolicies, &link, inputs));
    }
    watching
}

/// What the watchers of one agent share.
struct Link {
    access: ApiAccess,
    turns: Turns,
    pace: ApiTimings,
    /// The server refused a streamed list once: list and watch from then on.
    streams_refused: AtomicBool,
}

fn begin<K: Kind>(kind: K, link: &Arc<Link>, inputs: &mpsc::Sender<Input>) -> Watching {
    let (status, states) = state::channel(SourceState::default());
    let watcher = Watcher::new(kind, Arc::clone(link), inputs.clone(), status);
    Watching { source: K::SOURCE, states, task: tokio::spawn(watcher.run()) }
}
