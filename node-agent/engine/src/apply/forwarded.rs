//! Applies what a netns forwards.

use crate::engine::Engine;
use crate::model::identity::{BootTime, Protocol};
use crate::model::netns::{ForwardedPort, ForwardedPorts};
use crate::model::traffic::PeerDelta;
use crate::state::forward::Forward;

impl Engine {
    /// Applies the ports that a netns forwards.
    pub(crate) fn ports_forwarded(&mut self, forwarded: ForwardedPorts, now: BootTime) {
        let of_netns = forwarded.ports.into_iter().filter(|port| port.port.netns == forwarded.netns);
        for port in of_netns {
            self.port_forwarded(&port, forwarded.at, now);
        }
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
