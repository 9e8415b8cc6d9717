//! Hostile traffic: floods from unused addresses, and a datagram to every port.

use libtest_mimic::Trial;
use procfs::process::Process;

use super::exclusive;
use crate::actor::protocol::{Payload, Request};
use crate::harness::agent::{Agent, Stdout};
use crate::harness::world::World;

/// Maximum growth of the agent's memory during a flood, in bytes.
const MAY_GROW: u64 = 24 << 20;
const UDP_PACKET: u64 = 28;
/// Number of map entries that other processes on the machine may add meanwhile.
const SOME: u64 = 2000;

pub fn cases() -> Vec<Trial> {
    vec![
        exclusive("hostile/syn_flood_from_spoofed_addresses", syn_flood_from_spoofed_addresses),
        exclusive("hostile/served_datagrams_from_spoofed_addresses", served_datagrams_from_spoofed_addresses),
        exclusive("hostile/udp_spray_over_every_port", udp_spray_over_every_port),
        exclusive("hostile/more_peers_than_the_map_holds", more_peers_than_the_map_holds),
    ]
}

/// Creates a world in which answers to spoofed addresses are lost on the way, as on a real network.
fn world() -> World {
    let world = World::new(&["web", "client"]);
    world.network.ip("hub", "route add blackhole 198.18.0.0/15\n");
    world
}

/// Returns the resident memory of the agent in bytes.
pub fn resident(agent: &Agent) -> u64 {
    let process = Process::new(i32::try_from(agent.pid()).unwrap()).expect("the agent runs");
    process.statm().expect("its memory").resident * procfs::page_size()
}

fn syn_flood_from_spoofed_addresses() {
    const SYNS: u32 = 100_000;
    const CALLS: u32 = 20;
    let world = world();
    let agent = world.agent();
    let (web, client, attacker) = (world.actor("web"), world.actor("client"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    world.listener(&agent, "web", 7000, |_| true);
    let (before, peers) = (resident(&agent), agent.status().limits["map:peers"].used);
    attacker.post(&Request::Flood { to: world.v4("web", 7000), payload: Payload::Syn, times: SYNS });
    client.connect_many(world.v4("web", 7000), CALLS);
    attacker.reply().expect("all were sent");
    // Calls whose SYN the full queue dropped are sent again: one more attempt for each.
    let sent = u64::from(SYNS + CALLS);
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.attempts >= sent);
    assert!(seen.traffic.attempts <= sent + u64::from(CALLS), "{:?}", seen.traffic);
    assert_eq!(seen.traffic.connections, u64::from(CALLS));
    assert_eq!(seen.traffic.peers.len(), 1, "who only knocked is no peer: {:?}", seen.traffic.peers);
    let status = agent.status();
    assert!(status.limits["map:peers"].used <= peers + SOME, "{:?}", status.limits);
    assert!(!status.lost.contains_key("peers-map-full"), "{:?}", status.lost);
    let grown = resident(&agent).saturating_sub(before);
    assert!(grown <= MAY_GROW, "the agent grew by {} KiB", grown >> 10);
    world.settles(&agent);
}

/// A served datagram creates a peer, whatever its source address. The number of peers is bounded, and the sums stay
/// exact.
fn served_datagrams_from_spoofed_addresses() {
    const DATAGRAMS: u32 = 50_000;
    let world = world();
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.udp("0.0.0.0:53");
    world.listener(&agent, "web", 53, |_| true);
    let before = resident(&agent);
    client.order(&Request::Flood {
        to: world.v4("web", 53),
        payload: Payload::Datagram(10),
        times: DATAGRAMS,
    });
    let sent = u64::from(DATAGRAMS);
    let seen =
        world.listener(&agent, "web", 53, |item| item.traffic.packets >= sent && item.traffic.truncated);
    assert_eq!((seen.traffic.packets, seen.traffic.attempts), (sent, sent));
    assert_eq!(seen.traffic.bytes, sent * (UDP_PACKET + 10));
    assert!(seen.traffic.peers.len() <= 64, "{} peers", seen.traffic.peers.len());
    let grown = resident(&agent).saturating_sub(before);
    assert!(grown <= MAY_GROW, "the agent grew by {} KiB", grown >> 10);
    world.settles(&agent);
}

fn udp_spray_over_every_port() {
    let world = world();
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.udp("0.0.0.0:53");
    web.udp("[::]:5353");
    web.listen("0.0.0.0:7000");
    world.settles(&agent);
    let before = agent.status();
    client.order(&Request::Spray { to: world.address("web") });
    for (port, protocol, packets) in [(53, "UDP", 1), (5353, "UDP", 1), (7000, "TCP", 0)] {
        let seen = world.listener(&agent, "web", port, |item| item.traffic.packets >= packets);
        assert_eq!((seen.protocol.as_str(), seen.traffic.packets), (protocol, packets), "port {port}");
        assert_eq!(seen.traffic.attempts, packets, "port {port}");
    }
    // The machine may have other ports than the case's, but not as many as were sprayed.
    let after = agent.status();
    for map in ["map:port-stats", "map:listeners"] {
        let used = after.limits[map].used;
        assert!(used <= after.listeners as u64 + SOME, "{map}: {used} entries: closed ports take no room");
    }
    assert!(after.limits["map:peers"].used <= before.limits["map:peers"].used + SOME, "{:?}", after.limits);
    for reason in ["port-stats-map-full", "peers-map-full"] {
        assert!(!after.lost.contains_key(reason), "{:?}", after.lost);
    }
    world.settles(&agent);
}

/// The oldest peers are evicted; the counts of the port itself stay exact.
fn more_peers_than_the_map_holds() {
    const DATAGRAMS: u32 = 5000;
    let world = world();
    let agent = world.agent_with(&["--max-peers", "128"], Stdout::Read);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.udp("0.0.0.0:53");
    web.serve("0.0.0.0:7000");
    world.settles(&agent);
    let request = Request::Flood { to: world.v4("web", 53), payload: Payload::Datagram(1), times: DATAGRAMS };
    client.order(&request);
    client.connect_many(world.v4("web", 7000), 9);
    client.order(&request);
    let sent = 2 * u64::from(DATAGRAMS);
    let seen = world.listener(&agent, "web", 53, |item| item.traffic.packets >= sent);
    assert_eq!(seen.traffic.packets, sent);
    assert!(seen.traffic.truncated, "{} peers are not all", seen.traffic.peers.len());
    let called = world.listener(&agent, "web", 7000, |item| item.traffic.connections >= 9);
    assert_eq!(called.traffic.connections, 9);
    let peers = &agent.status().limits["peers"];
    assert!(peers.used <= peers.max, "{peers:?}");
    world.settles(&agent);
}
