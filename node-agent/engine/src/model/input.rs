//! The closed enum of everything that can change the engine's state. Sources build these values; nothing else reaches
//! a decision.

use std::sync::Arc;

use crate::model::connection::ConnectionFact;
use crate::model::exception::Rule;
use crate::model::identity::{BootTime, NetnsId, PodUid, SocketCookie};
use crate::model::listing::Listing;
use crate::model::namespace::Namespace;
use crate::model::netns::NetnsFacts;
use crate::model::network_policy::NetworkPolicy;
use crate::model::pod::Pod;
use crate::model::service::Service;
use crate::model::socket::{NetnsScan, OpenedSocket};
use crate::model::traffic::TrafficDrain;

/// One fact from one source.
#[derive(Clone, Debug)]
pub enum Input {
    /// The kernel saw a socket begin to serve.
    SocketOpened(OpenedSocket),
    /// The kernel saw a socket end to serve.
    SocketClosed {
        netns: NetnsId,
        cookie: SocketCookie,
        at: BootTime,
    },
    /// A whole netns was listed: what is not in it and is older than the scan is gone.
    NetnsScanned(NetnsScan),
    /// A netns exists, or what is known about it changed. Replaces what was known of it. The latest of these and of
    /// `NetnsGone` by `at` holds, whichever came first: a netns that was taken for gone comes back.
    NetnsSeen {
        facts: NetnsFacts,
        /// Before the look at it began.
        at: BootTime,
    },
    /// A netns is gone, with every socket in it.
    NetnsGone {
        netns: NetnsId,
        at: BootTime,
    },
    /// One source's pods, all of them: what is not listed is gone.
    Pods {
        source: &'static str,
        pods: Vec<Pod>,
    },
    /// One pod of a source is new or differs.
    PodChanged {
        source: &'static str,
        pod: Box<Pod>,
    },
    /// One pod of a source is gone.
    PodGone {
        source: &'static str,
        uid: PodUid,
    },
    Services(Listing<Service>),
    NetworkPolicies(Listing<NetworkPolicy>),
    Namespaces(Listing<Namespace>),
    /// The operator's exceptions, all of them, in the order in which they are asked; each has a name of its own.
    Exceptions(Vec<Arc<Rule>>),
    /// The kernel's counters, all that changed since the drain before.
    Traffic(TrafficDrain),
    /// Connections on recorded ports opened and ended; many at once, since there may be thousands in a second.
    Connections(Vec<ConnectionFact>),
    /// Something was dropped somewhere. `recovered` once the scan after it is done.
    Lost {
        reason: &'static str,
        count: u64,
        recovered: bool,
    },
}
