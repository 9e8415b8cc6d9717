//! The API server as a source: lists and watches a few kinds of objects at constant cost, whatever the server answers.
//! The kinds themselves are in `pods/api`, `services`, `policies` and `namespaces`.

pub mod access_check;
mod error_event;
mod items;
pub mod kind;
pub mod objects;
mod protocol;
mod watch;
mod watch_position;
pub mod weight;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portolan_engine::model::input::Input;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::kind::Kind;
use self::watch::Watcher;
use crate::kubernetes_api::access::ApiAccess;
use crate::kubernetes_api::timings::ApiTimings;
use crate::kubernetes_api::turns::Turns;
use crate::source::namespaces::Namespaces;
use crate::source::pods::api::NodePods;
use crate::source::policies::NetworkPolicies;
use crate::source::services::Services;
use crate::state::StateFeed;

/// What to watch, and with which credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// Only pods of this node are watched.
    pub node_name: String,
    /// Path of a kubeconfig. `None`: KUBECONFIG, else the pod's service account, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    pub services: Switch,
    pub policies: Switch,
    pub pace: ApiTimings,
}

/// Whether a kind of object is watched, or a sink is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    #[default]
    On,
    Off,
}

impl Switch {
    /// Returns `On` unless the setting is `false`.
    #[must_use]
    pub fn of(given: Option<bool>) -> Self {
        if given == Some(false) { Self::Off } else { Self::On }
    }
}

/// Starts a watcher for each kind of object. Each task ends when the engine is gone. Needs a tokio runtime.
#[must_use]
pub fn start(
    options: &KubernetesOptions,
    inputs: &mpsc::Sender<Input>,
    feed: &StateFeed,
) -> Vec<JoinHandle<()>> {
    let link = Arc::new(Link {
        access: ApiAccess::new(options.kubeconfig.clone()),
        turns: Turns::default(),
        pace: options.pace,
        streams_refused: AtomicBool::new(false),
    });
    let mut watching = vec![
        begin(NodePods::new(options.node_name.clone()), &link, inputs, feed),
        begin(Namespaces, &link, inputs, feed),
    ];
    if options.services == Switch::On {
        watching.push(begin(Services, &link, inputs, feed));
    }
    if options.policies == Switch::On {
        watching.push(begin(NetworkPolicies, &link, inputs, feed));
    }
    watching
}

/// State that the watchers of one agent share.
struct Link {
    access: ApiAccess,
    turns: Turns,
    pace: ApiTimings,
    /// True once the server has refused a streamed list; from then on watchers list first and watch after that.
    streams_refused: AtomicBool,
}

fn begin<K: Kind>(
    kind: K,
    link: &Arc<Link>,
    inputs: &mpsc::Sender<Input>,
    feed: &StateFeed,
) -> JoinHandle<()> {
    let reporter = feed.reporter(K::SOURCE);
    tokio::spawn(Watcher::new(kind, Arc::clone(link), inputs.clone(), reporter).run())
}
