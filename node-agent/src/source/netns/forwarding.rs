//! What the netns thread remembers of the connections that one netns forwards, so that each connection counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId, PortId};
use portolan_engine::model::netns::ForwardedPort;

use crate::source::conntrack::forwarded::{ForwardedConnections, Tracked};

/// Maximum number of connections remembered per netns.
const MAX_CONNECTIONS: usize = 8_192;
/// Pause between two reads of the table of a netns that forwards connections.
const READ_EVERY: Duration = Duration::from_secs(2);
/// Longest pause between two reports while connections are forwarded: a connection that lasts keeps its port listed.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The forwarded connections of one netns.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    /// When the table is read next; `None` without evidence that the netns forwards anything.
    pub next: Option<BootTime>,
    /// True if the netns has several interfaces, and had tracked connections at the last look.
    is_watched: bool,
    /// Connections that were counted, and whether the last read missed them. A read in several parts can miss a connection.
    counted: BTreeMap<Tracked, bool>,
    /// Number of connections above the maximum that were reported as lost.
    omitted: usize,
    /// The ports of the last report, with where they lead.
    reported: BTreeMap<PortId, (IpAddr, u16)>,
    reported_at: BootTime,
}

/// What one read of the table found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// All forwarded ports with their new connections; `None` if nothing is new and the last report is not long ago.
    pub ports: Option<Vec<ForwardedPort>>,
    /// Number of connections that cannot be remembered, as far as no earlier read found so many.
    pub omitted: usize,
}

impl Forwarding {
    /// Takes the evidence of a look: whether the netns may forward ports, whether it has several interfaces, and whether the
    /// look was its turn. The table is read every [`READ_EVERY`] while the netns forwards ports or has several interfaces,
    /// as with a nested netns or a virtual machine; else once per turn, since most pods have the setting from the node.
    pub fn looked(&mut self, may_forward: bool, has_several: bool, is_turn: bool, at: BootTime) {
        let is_watched = has_several || self.has_ports();
        if may_forward && (is_watched || is_turn) || self.has_ports() {
            self.next.get_or_insert(at);
        } else if !may_forward {
            self.next = None;
        }
        self.is_watched = is_watched && may_forward;
    }

    /// Schedules the next read after one that ended at `now`.
    pub fn was_read(&mut self, now: BootTime) {
        let is_watched = self.is_watched || self.has_ports();
        self.next = is_watched.then(|| now.after(READ_EVERY));
    }

    /// Returns true if a read should keep this connection: it was counted, or there is room in a list that has `kept`.
    pub fn keeps(&self, connection: &Tracked, kept: usize) -> bool {
        kept < MAX_CONNECTIONS || kept < 2 * MAX_CONNECTIONS && self.counted.contains_key(connection)
    }

    /// Returns true if the last report had ports.
    pub fn has_ports(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Takes the connections of one read that began at `at`.
    pub fn read(&mut self, netns: NetnsId, found: &ForwardedConnections, at: BootTime) -> Forwarded {
        self.counted.retain(|connection, was_missed| {
            let is_there = found.connections.contains_key(connection);
            let is_kept = is_there || !*was_missed;
            *was_missed = !is_there;
            is_kept
        });
        let mut omitted = found.omitted;
        let mut ports: BTreeMap<PortId, PortInTable> = BTreeMap::new();
        for (connection, to) in &found.connections {
            let id = PortId { netns, protocol: connection.protocol, port: connection.dialled.1 };
            let port = ports.entry(id).or_default();
            *port.targets.entry(*to).or_default() += 1;
            if self.counted.contains_key(connection) {
                continue;
            }
            if self.counted.len() < MAX_CONNECTIONS {
                self.counted.insert(*connection, false);
                *port.callers.entry(connection.caller.0).or_default() += 1;
            } else {
                omitted += 1;
            }
        }
        let newly_omitted = omitted.saturating_sub(self.omitted);
        self.omitted = omitted;
        let targets: BTreeMap<PortId, (IpAddr, u16)> =
            ports.iter().filter_map(|(id, port)| Some((*id, port.target()?))).collect();
        let has_new = ports.values().any(|port| !port.callers.is_empty());
        let is_late = !targets.is_empty() && at.since(self.reported_at) >= REPORT_EVERY;
        let is_news = has_new || is_late || targets != self.reported;
        self.reported = targets;
        if is_news {
            self.reported_at = at;
        }
        let port = |(id, port): (PortId, PortInTable)| {
            let to = port.target()?;
            Some(ForwardedPort { port: id, to, callers: port.callers.into_iter().collect() })
        };
        let ports = is_news.then(|| ports.into_iter().filter_map(port).collect());
        Forwarded { ports, omitted: newly_omitted }
    }
}

/// One forwarded port of a table.
#[derive(Debug, Default)]
struct PortInTable {
    /// Where its connections lead, with their number.
    targets: BTreeMap<(IpAddr, u16), usize>,
    /// New connections by caller.
    callers: BTreeMap<IpAddr, u64>,
}

impl PortInTable {
    /// Returns where most connections lead; of several, the smallest address.
    fn target(&self) -> Option<(IpAddr, u16)> {
        let most = self.targets.values().max()?;
        self.targets.iter().find(|(_, count)| *count == most).map(|(to, _)| *to)
    }
}

/// Returns the addresses without their prefix.
pub(super) fn own_addresses(addresses: &[ipnet::IpNet]) -> BTreeSet<IpAddr> {
    addresses.iter().map(ipnet::IpNet::addr).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use portolan_engine::model::identity::Protocol;

    use super::*;

    const NETNS: NetnsId = NetnsId(7);
    const AT: BootTime = BootTime(5);
    const GUEST: ([u8; 4], u16) = ([172, 17, 0, 2], 2222);

    fn connection(id: u32) -> Tracked {
        let port = NonZeroU16::new(22).expect("a port");
        let dialled = (IpAddr::from([10, 0, 0, 2]), port);
        let caller = (IpAddr::from([10, 0, 0, 9]), 40_000);
        Tracked { protocol: Protocol::Tcp, dialled, caller, id }
    }

    fn table(ids: impl IntoIterator<Item = u32>) -> ForwardedConnections {
        let to = (IpAddr::from(GUEST.0), GUEST.1);
        let connections = ids.into_iter().map(|id| (connection(id), to)).collect();
        ForwardedConnections { connections, ..ForwardedConnections::default() }
    }

    /// Returns the new connections of the only port; `None` if nothing is reported.
    fn new_connections(forwarding: &mut Forwarding, found: &ForwardedConnections) -> Option<Vec<u64>> {
        let ports = forwarding.read(NETNS, found, AT).ports?;
        Some(ports.iter().map(|port| port.callers.iter().map(|(_, count)| count).sum()).collect())
    }

    #[test]
    fn each_connection_counts_once_also_if_a_read_misses_it() {
        let mut forwarding = Forwarding::default();
        assert_eq!(new_connections(&mut forwarding, &table([])), None);
        assert_eq!(new_connections(&mut forwarding, &table([1, 2, 3])), Some(vec![3]));
        assert_eq!(new_connections(&mut forwarding, &table([1, 2, 3])), None, "nothing is new");
        assert_eq!(new_connections(&mut forwarding, &table([1, 3, 4])), Some(vec![1]));
        assert_eq!(new_connections(&mut forwarding, &table([1, 2, 3, 4])), None, "2 was missed once");
        assert!(forwarding.has_ports());
        let later = forwarding.read(NETNS, &table([1, 2, 3, 4]), AT.after(REPORT_EVERY));
        assert!(later.ports.is_some_and(|ports| ports[0].callers.is_empty()), "they last");
        assert_eq!(new_connections(&mut forwarding, &table([])), Some(vec![]), "the port is gone");
        assert_eq!(new_connections(&mut forwarding, &table([])), None);
        assert!(!forwarding.has_ports() && forwarding.counted.is_empty());
    }

    #[test]
    fn the_table_is_read_often_only_with_evidence() {
        let at = BootTime(5);
        let next = |may_forward, has_several, is_turn| {
            let mut forwarding = Forwarding::default();
            forwarding.looked(may_forward, has_several, is_turn, at);
            let first = forwarding.next;
            forwarding.was_read(at);
            (first, forwarding.next)
        };
        let again = Some(at.after(READ_EVERY));
        assert_eq!(next(false, true, true), (None, None), "nothing is tracked");
        assert_eq!(next(true, false, false), (None, None), "as most pods");
        assert_eq!(next(true, false, true), (Some(at), None), "once per turn");
        assert_eq!(next(true, true, false), (Some(at), again));
        let mut forwarding = Forwarding::default();
        forwarding.read(NETNS, &table([1]), AT);
        forwarding.was_read(at);
        assert_eq!(forwarding.next, again, "it forwards a port");
    }

    #[test]
    fn what_does_not_fit_is_lost_once() {
        let mut forwarding = Forwarding::default();
        let max = u32::try_from(MAX_CONNECTIONS).expect("small");
        let more = table(0..max + 5);
        assert_eq!(forwarding.read(NETNS, &more, AT).omitted, 5);
        assert_eq!(forwarding.read(NETNS, &more, AT), Forwarded::default(), "the same five");
        assert_eq!(forwarding.counted.len(), MAX_CONNECTIONS);
        assert!(forwarding.keeps(&connection(0), MAX_CONNECTIONS), "it was counted");
        assert!(!forwarding.keeps(&connection(max + 9), MAX_CONNECTIONS));
    }

    #[test]
    fn a_port_that_leads_to_several_is_one_port() {
        let mut found = table([1, 2]);
        found.connections.insert(connection(3), (IpAddr::from([172, 17, 0, 1]), 1));
        let ports = Forwarding::default().read(NETNS, &found, AT).ports.expect("new");
        let [port] = ports.as_slice() else { panic!("{ports:?}") };
        assert_eq!(port.to, (IpAddr::from(GUEST.0), GUEST.1), "where most lead");
        assert_eq!(port.callers, [(IpAddr::from([10, 0, 0, 9]), 3)]);
    }
}
