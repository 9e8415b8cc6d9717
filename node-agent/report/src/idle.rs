//! Decides whether an open port was called lately: idle, called, or unknown with the reason.
//!
//! All times of a listener are of the clock of its node, and so is `time`, when its agent answered. The reader's clock plays no
//! part. A port is idle only if that is certain: whatever may have been a call counts against it.

use jiff::{SignedDuration, Timestamp};

use crate::wire::{Listener, Peer, Traffic};

/// Units of a period, and their seconds.
const UNITS: [(char, i64); 5] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 604_800)];
/// Longest period: ten years.
const LONGEST: i64 = 3_650 * 86_400;

/// Period in which an idle port was not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// As long as the agent counts the port's traffic.
    Counted,
    /// This long, up to the agent's answer.
    Last(SignedDuration),
}

impl Period {
    /// Parses a number with a unit, such as `7d`, `12h` or `30m`; at most ten years.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected a number and a unit of s, m, h, d or w, such as 7d or 12h, of at most 3650d";
        let unit = text.chars().next_back().ok_or(EXPECTED)?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(EXPECTED)?;
        let number = text.strip_suffix(unit).unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = number.parse().ok().filter(|number| is_number && *number > 0).ok_or(EXPECTED)?;
        let seconds = number.checked_mul(seconds).filter(|seconds| *seconds <= LONGEST).ok_or(EXPECTED)?;
        Ok(Self::Last(SignedDuration::from_secs(seconds)))
    }
}

/// What is known of the calls to a port in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nobody called it, but perhaps its own node.
    Idle(Idle),
    /// It was called.
    Called,
    /// It may have been called, or is not known for long enough.
    Unknown(Reason),
}

/// Calls of an idle port, all of them before the period, but for those of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The last call by others than the node.
    pub last_call: LastCall,
    /// Calls of the node itself: probes of the kubelet, and of whatever else runs on the node without a pod.
    pub node_calls: NodeCalls,
}

/// When a port was called last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastCall {
    /// Never since this time, from which the agent counts.
    NeverSince(Timestamp),
    /// Not since this time, but during an earlier run of the agent, by callers as far away as the text says.
    Before(Timestamp, String),
    /// At this time.
    At(Timestamp),
    /// At this time or earlier: not all callers are listed.
    AtOrBefore(Timestamp),
}

/// Calls of the node itself, where no address is known that they dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCalls {
    /// Number of connections, or of packets where none are counted.
    pub count: u64,
    /// Time of the last of them.
    pub last: Option<Timestamp>,
}

/// Why it is not known whether a port is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The agent counts only since this time, which is within the period. Nobody called the port since then.
    CountedLater(Timestamp),
    /// The port was opened within the period. Nobody called it so far.
    OpenedLater,
    /// Not all callers are listed, and one of the others may have called within the period.
    CallersNotListed,
    /// A connection without counted packets, accepted before the period, may still be in use.
    MayBeInUse,
    /// The UDP port may be a client's.
    Unproven,
    /// The agent does not count the port's traffic.
    NotCounted,
    /// A time cannot be read.
    UnreadableTime,
}

/// Decides whether an open port was called in a period.
///
/// A call is a connection or a packet of any peer but the node itself. Calls of the node without `via` are of the kubelet or of
/// others on the node, which cannot be told apart; they do not count as calls, and are in [`Idle::node_calls`].
#[must_use]
pub fn usage(listener: &Listener, period: Period) -> Usage {
    judge(listener, period).unwrap_or_else(Usage::Unknown)
}

fn judge(listener: &Listener, period: Period) -> Result<Usage, Reason> {
    if listener.unproven {
        return Err(Reason::Unproven);
    }
    let traffic = &listener.traffic;
    let since = time(traffic.since.as_deref().ok_or(Reason::NotCounted)?)?;
    let start = match period {
        Period::Counted => since,
        Period::Last(length) => time(&listener.envelope.time)?.checked_sub(length).unwrap_or(Timestamp::MIN),
    };
    let (node, callers): (Vec<&Peer>, Vec<&Peer>) = traffic.peers.iter().partition(|peer| is_node(peer));
    let last_listed = latest(&callers)?;
    if last_listed >= Some(start) {
        return Ok(Usage::Called);
    }
    let last_traffic = traffic.last_seen.as_deref().map(time).transpose()?;
    let is_complete = lists_all_callers(traffic);
    if !is_complete && last_traffic.is_none_or(|last| last >= start) {
        return Err(Reason::CallersNotListed);
    }
    if let Some(opened) = &listener.opened_at
        && time(opened)? > start
    {
        return Err(Reason::OpenedLater);
    }
    if since > start {
        return Err(Reason::CountedLater(since));
    }
    if callers.iter().any(|peer| peer.connections > 0 && peer.packets == 0) {
        return Err(Reason::MayBeInUse);
    }
    let last_call = match (last_listed, last_traffic, &traffic.called_earlier) {
        (_, Some(last), _) if !is_complete => LastCall::AtOrBefore(last),
        (Some(last), ..) => LastCall::At(last),
        (None, _, Some(reach)) => LastCall::Before(since, reach.clone()),
        (None, _, None) => LastCall::NeverSince(since),
    };
    Ok(Usage::Idle(Idle { last_call, node_calls: node_calls(&node)? }))
}

/// Returns true for a peer that is the node itself, as the kubelet is. A peer that dialled a translated address is a client.
fn is_node(peer: &Peer) -> bool {
    peer.origin == "node" && peer.via.is_none()
}

/// Returns true if no peer is left out of the list, or those that are listed account for all that was counted.
fn lists_all_callers(traffic: &Traffic) -> bool {
    let sum = |of: fn(&Peer) -> u64| traffic.peers.iter().map(of).fold(0, u64::saturating_add);
    let has_all_connections = sum(|peer| peer.connections) >= traffic.connections;
    has_all_connections && (!traffic.truncated || sum(|peer| peer.packets) >= traffic.packets)
}

fn node_calls(node: &[&Peer]) -> Result<NodeCalls, Reason> {
    let sum = |of: fn(&Peer) -> u64| node.iter().map(|peer| of(peer)).fold(0, u64::saturating_add);
    let count = match sum(|peer| peer.connections) {
        0 => sum(|peer| peer.packets),
        connections => connections,
    };
    Ok(NodeCalls { count, last: latest(node)? })
}

/// Returns the latest time of these peers' traffic.
fn latest(peers: &[&Peer]) -> Result<Option<Timestamp>, Reason> {
    peers.iter().try_fold(None, |last, peer| Ok(last.max(Some(time(&peer.last_seen)?))))
}

fn time(text: &str) -> Result<Timestamp, Reason> {
    text.parse().map_err(|_| Reason::UnreadableTime)
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;
