//! Applies what a netns redirects and forwards.

use crate::engine::Engine;
use crate::model::identity::{BootTime, PortId, Protocol};
use crate::model::netns::{ForwardedPort, ForwardedPorts};
use crate::model::traffic::PeerDelta;
use crate::state::forward::{Forward, Redirect};

impl Engine {
    /// Applies the ports that a netns forwards.
    pub(crate) fn ports_forwarded(&mut self, forwarded: ForwardedPorts, now: BootTime) {
        let of_netns = forwarded.ports.into_iter().filter(|port| port.port.netns == forwarded.netns);
        for port in of_netns {
            self.port_forwarded(&port, forwarded.at, now);
        }
    }

    /// Learns that a rule of the netns redirects a port to another one. The latest target counts.
    pub(crate) fn port_redirected(&mut self, id: PortId, seen: Redirect) {
        let Some((port, index)) = self.ports.split(id) else { return };
        let before = port.redirect.map(|(_, to)| to);
        let (_, to) = *port.redirect.insert(port.redirect.map_or(seen, |known| known.max(seen)));
        if before == Some(to) {
            return;
        }
        if let Some(before) = before {
            index.redirects.remove(id, PortId { port: before, ..id });
        }
        let to = PortId { port: to, ..id };
        if index.redirects.add(id, to) {
            self.agenda.judge(to);
        }
        self.agenda.judge(id);
    }

    fn port_forwarded(&mut self, forwarded: &ForwardedPort, at: BootTime, now: BootTime) {
        let id = forwarded.port;
        if !self.admit_forwarded_port(id, now) {
            return;
        }
        let Some((port, index)) = self.ports.split(id) else { return };
        let seen = Forward::new(forwarded.to, at);
        port.forward.get_or_insert_with(|| Box::new(seen)).learn(seen);
        index.end_closing(id);
        self.agenda.judge(id);
        let caller = |(address, connections): &(_, u64)| PeerDelta {
            address: *address,
            first_seen: at,
            attempts: 0,
            // The datagrams of UDP are counted at the interface.
            connections: if id.protocol == Protocol::Udp { 0 } else { *connections },
            packets: 0,
            bytes: 0,
            addressed_first: false,
            accepted_by: None,
        };
        let callers: Vec<PeerDelta> = forwarded.callers.iter().map(caller).collect();
        if !callers.is_empty() {
            self.count_forwarded(id, &callers, at, now);
        }
    }
}
