//! How the connections of a caller come into a pod that redirects or forwards them.

use std::net::IpAddr;

use crate::model::traffic::{Via, ViaKind};
use crate::state::peer_count::TakenBy;

/// What inside a pod takes the connections of its callers, to describe them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WayIn {
    /// The pod's own IPv4 and IPv6 address.
    pub own: (Option<IpAddr>, Option<IpAddr>),
    /// Where the port is forwarded to.
    pub forwarded_to: Option<(IpAddr, u16)>,
}

impl WayIn {
    /// Describes what takes the connections of a peer; `None` for a socket of the port.
    pub(crate) fn via(self, taken_by: TakenBy, peer: IpAddr) -> Option<Via> {
        let own = if peer.is_ipv4() { self.own.0 } else { self.own.1 };
        match taken_by {
            TakenBy::Socket => None,
            TakenBy::Proxy(port) => Some(Via::inside(ViaKind::Proxy, (own?, port.get()))),
            TakenBy::Forward => Some(Via::inside(ViaKind::Forwarded, self.forwarded_to?)),
        }
    }
}
