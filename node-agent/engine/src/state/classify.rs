//! How callers are classified while traffic is counted, and the bounds on those that are kept.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::traffic::PeerOrigin;
use crate::rules::audience::Caller;

/// Bounds on the peers of a port, and how long an origin may still change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerLimits {
    /// Maximum number of peers of this port.
    pub per_listener: usize,
    /// Number of peers that all ports together may still add.
    pub left: usize,
    /// How long an origin may still turn out nearer.
    pub hold: Duration,
}

/// Classifies an address.
pub(crate) type Resolve<'a> = &'a dyn Fn(IpAddr) -> PeerOrigin;

/// Returns true if a policy that explains the port lists the caller, or may.
pub(crate) type IsListed<'a> = &'a dyn Fn(Caller<'_>) -> bool;

/// Classifies callers.
#[derive(Clone, Copy)]
pub(crate) struct Classify<'a> {
    /// Where an address is.
    pub resolve: Resolve<'a>,
    /// Whether a policy lists a caller. Asked only for those that are dropped.
    pub is_listed: IsListed<'a>,
}
