//! The closed enum of everything the engine emits: reports for people (listener, finding, connection, loss) and
//! requests to the kernel side (which ports to count and to record).

use std::sync::Arc;

use crate::model::connection::Connection;
use crate::model::finding::Finding;
use crate::model::identity::{NetnsId, PortId};
use crate::model::listener::Listener;

/// One change of the engine's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A listener opened, changed or closed.
    Listener(Arc<Listener>),
    /// A finding opened, changed or was resolved.
    Finding(Arc<Finding>),
    /// A recorded connection opened or ended.
    Connection(Arc<Connection>),
    /// Something was dropped.
    Loss(Loss),
    /// Request: count this port's traffic from now on. Idempotent.
    Watch(PortId),
    /// Request: stop counting this port's traffic. Idempotent. Either nothing serves the port and its last traffic
    /// was drained, or the port is not kept. Also sent for ports that were never watched, because the kernel counts a
    /// port from the moment it opens.
    Unwatch(PortId),
    /// Request: scan the sockets of this netns soon.
    Scan(NetnsId),
    /// Request: list the connections of this netns ([`ConnectionList`](crate::model::connection::ConnectionList)).
    ListConnections(NetnsId),
    /// Request: turn the recording of single connections of this port on or off.
    Record {
        /// The port.
        port: PortId,
        /// True to record.
        on: bool,
    },
}

/// Something was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Name of the loss, as metrics show it.
    pub reason: &'static str,
    /// Number of dropped items.
    pub count: u64,
    /// True if a later scan made up for the loss.
    pub recovered: bool,
}
