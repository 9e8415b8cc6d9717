//! The closed enum of everything that can change the engine's state. Sources build these values; nothing else reaches
//! a decision.

use std::sync::Arc;

use crate::model::connection::{ConnectionFact, ConnectionList};
use crate::model::exception::Rule;
use crate::model::identity::{BootTime, NetnsId, PodUid, SocketCookie};
use crate::model::listing::Listing;
use crate::model::namespace::Namespace;
use crate::model::netns::{ForwardedPorts, NetnsFacts};
use crate::model::network_policy::NetworkPolicy;
use crate::model::pod::{Pod, PodSource};
use crate::model::remembered::RememberedFinding;
use crate::model::service::Service;
use crate::model::socket::{NetnsScan, OpenedSocket};
use crate::model::traffic::TrafficDrain;

/// One fact from one source.
#[derive(Clone, Debug)]
pub enum Input {
    /// A socket began to serve.
    SocketOpened(OpenedSocket),
    /// A socket ceased to serve.
    SocketClosed {
        /// Netns of the socket.
        netns: NetnsId,
        /// The socket.
        cookie: SocketCookie,
        /// When the socket ceased to serve.
        at: BootTime,
    },
    /// A whole netns was scanned. A socket that is not listed and older than the scan is gone.
    NetnsScanned(NetnsScan),
    /// A netns exists, or what is known about it changed; replaces what was known. Of these facts and `NetnsGone` the
    /// latest by `at` holds, in whichever order they arrive: a netns that was considered gone comes back.
    NetnsSeen {
        /// What is known about the netns.
        facts: NetnsFacts,
        /// When the source began to look at the netns.
        at: BootTime,
    },
    /// A netns is gone, with every socket in it.
    NetnsGone {
        /// The netns.
        netns: NetnsId,
        /// When the source noticed that.
        at: BootTime,
    },
    /// All pods of one source. A pod that is not listed is gone from that source.
    Pods {
        /// The source.
        source: PodSource,
        /// The pods.
        pods: Vec<Pod>,
    },
    /// One pod of a source is new or differs.
    PodChanged {
        /// The source.
        source: PodSource,
        /// The pod.
        pod: Box<Pod>,
    },
    /// One pod of a source is gone.
    PodGone {
        /// The source.
        source: PodSource,
        /// UID of the pod, or of its mirror.
        uid: PodUid,
    },
    /// Services changed.
    Services(Listing<Service>),
    /// NetworkPolicies changed.
    NetworkPolicies(Listing<NetworkPolicy>),
    /// Namespaces changed.
    Namespaces(Listing<Namespace>),
    /// The operator's exception rules, all of them, in order of precedence. Rule names are unique.
    Exceptions(Vec<Arc<Rule>>),
    /// Growth of the kernel's counters since the previous drain.
    Traffic(TrafficDrain),
    /// Connections on recorded ports opened or ended. Batched, because there may be thousands a second.
    Connections(Vec<ConnectionFact>),
    /// The kernel's list of the connections of a netns.
    ConnectionsListed(ConnectionList),
    /// Ports that a netns forwards, and their new connections.
    Forwarded(ForwardedPorts),
    /// Findings of an earlier run of the agent, since the same boot of the node. Only the first such input counts; in
    /// which order it arrives among the other facts does not matter, but that a port that closes before it leaves its entry
    /// until it expires.
    Remembered(Vec<RememberedFinding>),
    /// Something was dropped outside the engine.
    Lost {
        /// Name of the loss.
        reason: &'static str,
        /// Number of dropped items.
        count: u64,
        /// True once the scan that makes up for the loss is done.
        recovered: bool,
    },
}
