//! The closed enum of everything the engine emits: reports for people (listener, finding, connection, loss) and
//! requests to the kernel side (which ports to count and to record).

use std::sync::Arc;

use crate::model::connection::Connection;
use crate::model::finding::Finding;
use crate::model::identity::PortId;
use crate::model::listener::Listener;

/// One change of the engine's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Listener(Arc<Listener>),
    Finding(Arc<Finding>),
    Connection(Arc<Connection>),
    Loss(Loss),
    /// Count this port's traffic from now on (idempotent).
    Watch(PortId),
    /// Count this port's traffic no more (idempotent): nothing serves it and its last traffic was taken in, or it is not
    /// kept. Also for ports that were never watched, since the kernel counts a port from the moment it opens.
    Unwatch(PortId),
    /// Turn the recording of single connections of this port on or off.
    Record {
        port: PortId,
        on: bool,
    },
}

/// Something was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub reason: &'static str,
    pub count: u64,
    pub recovered: bool,
}
