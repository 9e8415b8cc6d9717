//! The kernel programs without the rest of the agent: loads and attaches them as the agent does, and adds up what their
//! counters grew by. For what the programs observe, whatever the engine makes of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use portolan::source::clock;
use portolan::source::kernel::{
    KernelHooks, KernelLogLevel, KernelOptions, LookupScope, NetnsPrograms, TrafficLevel,
};
use portolan::source::netns::look::{EphemeralPorts, look};
use portolan::state::StateFeed;
use portolan_engine::model::identity::{NetnsId, PortId, Protocol};
use portolan_engine::model::traffic::PortDelta;

use super::network::{inside, netns_path};
use super::timeouts::{TIMEOUT, eventually};

/// The loaded programs, and the sums of all drains.
pub struct KernelSide {
    hooks: KernelHooks,
    programs: NetnsPrograms,
    ports: BTreeMap<PortId, Port>,
}

/// What was counted for a port until now.
#[derive(Clone, Debug, Default)]
pub struct Port {
    pub attempts: u64,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
    pub peers: BTreeMap<IpAddr, Peer>,
}

/// What was counted for a peer until now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    pub attempts: u64,
    pub connections: u64,
    pub packets: u64,
    pub addressed_first: bool,
    pub accepted_by: Option<u16>,
}

impl KernelSide {
    pub fn load(max_listeners: u32) -> Self {
        let options = KernelOptions {
            traffic: TrafficLevel::Full,
            max_listeners,
            max_peers: 4096,
            listener_ring_bytes: 1 << 16,
            connection_ring_bytes: 1 << 16,
            records_per_second: 1000,
            record_by_default: true,
            log: KernelLogLevel::Off,
        };
        let (hooks, programs) = KernelHooks::load(&options, &StateFeed::default()).expect("the kernel side");
        Self { hooks, programs, ports: BTreeMap::new() }
    }

    /// Loads the programs and attaches them in a netns, and waits until answers to what was sent before have come.
    pub fn in_netns(netns: &str) -> (Self, NetnsId) {
        let mut side = Self::load(4096);
        let id = side.attach(netns);
        side.wait_until_proven();
        (side, id)
    }

    /// Attaches everything in a netns.
    pub fn attach(&mut self, netns: &str) -> NetnsId {
        let programs = &mut self.programs;
        inside(netns, || {
            let inode = rustix::fs::stat("/proc/thread-self/ns/net").expect("this netns").st_ino;
            let path = netns_path(netns).to_string_lossy().into_owned();
            let look = look(inode, vec![path], false, EphemeralPorts::Read).expect("a look");
            programs.reconcile(look.facts.netns, &look.interfaces, LookupScope::Inside);
            while programs.attach_next(look.facts.netns) {}
            look.facts.netns
        })
    }

    /// Waits for longer than the silence after which who speaks is the one that asks.
    pub fn wait_until_proven(&self) {
        let from = clock::now();
        let silence = std::time::Duration::from_nanos(portolan_ebpf::abi::traffic::SILENCE_NS);
        eventually(TIMEOUT, "silence", || {
            if clock::now() > from.after(silence) { Ok(()) } else { Err("not yet".to_owned()) }
        });
    }

    /// Counts a port that a scan found.
    pub fn watch(&mut self, port: PortId) {
        self.hooks.watch(port);
    }

    /// Returns how often the programs dropped something for this reason.
    pub fn lost(&self, reason: &str) -> u64 {
        self.hooks.lost().get(reason).copied().unwrap_or_default()
    }

    /// Drains until `holds` is true of the port.
    pub fn port(&mut self, port: PortId, what: &str, holds: impl Fn(&Port) -> bool) -> Port {
        eventually(TIMEOUT, what, || {
            let drained = self.hooks.drain(clock::now());
            for (port, delta) in &drained.ports {
                self.ports.entry(*port).or_default().add(delta);
            }
            let found = self.ports.get(&port).cloned().unwrap_or_default();
            if holds(&found) { Ok(found) } else { Err(format!("{found:#?}")) }
        })
    }

    /// Returns every port that counted anything, as of the last drain.
    pub fn ports(&self) -> &BTreeMap<PortId, Port> {
        &self.ports
    }
}

impl Port {
    fn add(&mut self, delta: &PortDelta) {
        self.attempts += delta.attempts;
        self.connections += delta.connections;
        self.packets += delta.packets;
        self.bytes += delta.bytes;
        for delta in &delta.peers {
            let peer = self.peers.entry(delta.address).or_default();
            peer.attempts += delta.attempts;
            peer.connections += delta.connections;
            peer.packets += delta.packets;
            peer.addressed_first = delta.addressed_first;
            peer.accepted_by = delta.accepted_by.map(NonZeroU16::get);
        }
    }

    /// Returns who called the port.
    pub fn callers(&self) -> Vec<IpAddr> {
        self.peers.iter().filter(|(_, peer)| !peer.addressed_first).map(|(address, _)| *address).collect()
    }

    /// Returns whom the port addressed first.
    pub fn addressed(&self) -> Vec<IpAddr> {
        self.peers.iter().filter(|(_, peer)| peer.addressed_first).map(|(address, _)| *address).collect()
    }
}

/// Returns the port of a netns.
pub fn port(netns: NetnsId, protocol: Protocol, port: u16) -> PortId {
    PortId { netns, protocol, port: NonZeroU16::new(port).expect("a port") }
}
