//! Packet and byte counts, compared with the kernel's own counters of the pod's interface.

use std::num::NonZeroU16;

use libtest_mimic::Trial;
use portolan::source::kernel::{KernelHooks, KernelLogLevel, KernelOptions, TrafficLevel};
use portolan::state::StateFeed;
use portolan_engine::model::identity::{BootTime, NetnsId, PortId, Protocol};
use portolan_report::wire::Report;

use super::case;
use crate::actor::protocol::{Request, SocketOptions, Transport};
use crate::harness::network::inside;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

const IPV4_HEADER: u64 = 20;
const UDP_HEADER: u64 = 8;

pub fn cases() -> Vec<Trial> {
    vec![
        case("counters/bulk_with_segmentation_offload", bulk_with_segmentation_offload),
        case("counters/long_lived_and_still_counting", long_lived_and_still_counting),
        case("counters/fragments", fragments),
        case("counters/ipv6_extension_headers", ipv6_extension_headers),
        case("counters/sendto_and_sendmmsg", sendto_and_sendmmsg),
        case("counters/more_flows_than_a_cpu_keeps", more_flows_than_a_cpu_keeps),
        case("counters/every_life_of_a_port_has_its_own", every_life_of_a_port_has_its_own),
        case("counters/a_port_that_found_no_room_gets_it_later", a_port_that_found_no_room_gets_it_later),
    ]
}

/// Returns packets and bytes that the pod's eth0 received, without link headers, as the agent counts them.
fn received(world: &World, role: &str) -> (u64, u64) {
    let text = inside(&world.network.netns(role), || std::fs::read_to_string("/proc/thread-self/net/dev"));
    let text = text.expect("interface counters");
    let line = text.lines().find(|line| line.trim_start().starts_with("eth0:")).expect("eth0");
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    (fields[1], fields[0] - 14 * fields[1])
}

/// Every payload byte arrives; headers count once per packet, whether the kernel passes single packets or large
/// buffers.
fn bulk_with_segmentation_offload() {
    const LENGTH: usize = 8 << 20;
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    let socket = web.listen("0.0.0.0:7000");
    world.listener(&agent, "web", 7000, |_| true);
    let (packets_before, bytes_before) = received(&world, "web");
    let peer = client.connect(world.v4("web", 7000));
    let served = socket.accept();
    web.post(&Request::Read { socket: served.name(), length: LENGTH });
    peer.write(LENGTH);
    web.reply().expect("read to the end");
    let payload = LENGTH as u64;
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.bytes >= payload);
    let (packets_after, bytes_after) = received(&world, "web");
    let (buffers, bytes) = (packets_after - packets_before, bytes_after - bytes_before);
    // The interface counts the headers of a large buffer once, the agent once per segment (52 bytes, with timestamps).
    let most = bytes + 52 * seen.traffic.packets;
    assert!(seen.traffic.bytes <= most, "agent {:?}, interface {bytes} bytes", seen.traffic);
    assert!(seen.traffic.bytes > payload, "headers are counted: {:?}", seen.traffic);
    let segments = payload.div_ceil(1448);
    assert!(seen.traffic.packets >= segments.min(buffers), "{:?} for {segments} segments", seen.traffic);
    assert!(seen.traffic.packets <= 2 * segments, "{:?} for {segments} segments", seen.traffic);
    world.settles(&agent);
}

fn long_lived_and_still_counting() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    let socket = web.listen("0.0.0.0:7000");
    let peer = client.connect(world.v4("web", 7000));
    let served = socket.accept();
    for round in 1..=3u64 {
        peer.write(100_000);
        web.order(&Request::Read { socket: served.name(), length: 100_000 });
        let seen = world.listener(&agent, "web", 7000, |item| item.traffic.bytes >= round * 100_000);
        assert_eq!(seen.traffic.connections, 1);
        assert!(seen.traffic.bytes < round * 120_000, "{:?}", seen.traffic);
    }
    world.settles(&agent);
}

/// Only the first fragment carries ports, so only it can be counted; the listener is found all the same.
fn fragments() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let socket = dns.udp("0.0.0.0:53");
    world.listener(&agent, "dns", 53, |_| true);
    client.open(Transport::Udp, false).send_to(world.v4("dns", 53), 4000, 10);
    socket.receive(10);
    let seen = world.listener(&agent, "dns", 53, |item| item.traffic.packets >= 10);
    assert_eq!(seen.traffic.packets, 10, "one packet with ports per datagram");
    assert_eq!(seen.traffic.attempts, 0, "datagrams from an interface are packets");
    world.settles(&agent);
}

fn ipv6_extension_headers() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let socket = dns.udp("[::]:53");
    world.listener(&agent, "dns", 53, |_| true);
    let options = SocketOptions { destination_options: true, ..SocketOptions::default() };
    client.open_with(Transport::Udp, true, options).send_to(world.v6("dns", 53), 100, 7);
    socket.receive(7);
    let seen = world.listener(&agent, "dns", 53, |item| item.traffic.packets >= 7);
    // IPv6 header 40, destination options 8, UDP 8, payload 100.
    assert_eq!((seen.traffic.packets, seen.traffic.bytes), (7, 7 * 156));
    world.settles(&agent);
}

fn sendto_and_sendmmsg() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let socket = dns.udp("0.0.0.0:53");
    world.listener(&agent, "dns", 53, |_| true);
    let to = world.v4("dns", 53);
    let sender = client.open(Transport::Udp, false);
    sender.send_to(to, 200, 20);
    let many = client.number(&Request::SendMany { socket: sender.name(), to, length: 200, times: 30 });
    assert_eq!(many, 30);
    socket.receive(50);
    let seen = world.listener(&agent, "dns", 53, |item| item.traffic.packets >= 50);
    assert_eq!((seen.traffic.packets, seen.traffic.attempts), (50, 0));
    assert_eq!(seen.traffic.bytes, 50 * (200 + IPV4_HEADER + UDP_HEADER));
    assert_eq!(seen.traffic.connections, 0);
    world.settles(&agent);
}

/// Datagrams of many alternating flows evict each other from the flow slots; at rest every count is exact.
fn more_flows_than_a_cpu_keeps() {
    const PORTS: u16 = 45;
    const ROUNDS: u64 = 12;
    let world = World::new(&["dns", "one", "two"]);
    let agent = world.agent();
    let (dns, one, two) = (world.actor("dns"), world.actor("one"), world.actor("two"));
    let ports = || 5000..5000 + PORTS;
    let sockets: Vec<_> = ports().map(|port| dns.udp(&format!("0.0.0.0:{port}"))).collect();
    let senders = [one.open(Transport::Udp, false), two.open(Transport::Udp, false)];
    for round in 0..ROUNDS {
        for (port, socket) in ports().zip(&sockets) {
            senders.iter().for_each(|sender| sender.send_to(world.v4("dns", port), 100, 1));
            socket.receive(2);
        }
        // Ports that come and go make the programs look their entries up again.
        if round % 4 == 3 {
            dns.udp("0.0.0.0:9999").close();
        }
    }
    let expected = (2 * ROUNDS, 2 * ROUNDS * (100 + IPV4_HEADER + UDP_HEADER));
    for port in ports() {
        let seen = world.listener(&agent, "dns", port, |item| item.traffic.packets >= expected.0);
        assert_eq!((seen.traffic.packets, seen.traffic.bytes), expected, "port {port}");
    }
    for port in ports() {
        let seen = world.listener(&agent, "dns", port, |item| {
            item.traffic.peers.iter().all(|peer| peer.packets >= ROUNDS) && item.traffic.peers.len() == 2
        });
        assert!(seen.traffic.peers.iter().all(|peer| peer.packets == ROUNDS), "{:?}", seen.traffic.peers);
        assert_eq!(seen.traffic.packets, expected.0, "nothing was counted twice");
    }
    world.settles(&agent);
}

/// A port that opens again starts at zero and misses nothing, though the programs still keep a flow of its earlier
/// life.
fn every_life_of_a_port_has_its_own() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let sender = client.open(Transport::Udp, false);
    let netns = world.network.netns("dns");
    for life in 1..=8_u32 {
        let socket = dns.udp("0.0.0.0:53");
        for half in [life, 2] {
            sender.send_to(world.v4("dns", 53), 100, half);
            socket.receive(half);
            // Another port opens and closes meanwhile.
            dns.udp("0.0.0.0:54").close();
        }
        socket.close();
        let ended = eventually(TIMEOUT, "every life has its line", || {
            let reports = agent.reports();
            let ended = reports.iter().filter_map(|report| match report {
                Report::Listener(item)
                    if item.port == 53
                        && item.state == "closed"
                        && item.netns.name.as_ref() == Some(&netns) =>
                {
                    Some(item.clone())
                }
                _ => None,
            });
            let ended: Vec<_> = ended.collect();
            if ended.len() >= life as usize { Ok(ended) } else { Err(format!("{ended:?}")) }
        });
        let last = ended.last().expect("one at least");
        assert_eq!(last.traffic.packets, u64::from(life + 2), "life {life}: {:?}", last.traffic);
    }
    world.settles(&agent);
}

/// Uses the maps directly: other ports on the machine may take room too, but give none back.
fn a_port_that_found_no_room_gets_it_later() {
    const ROOM: u16 = 4096;
    const TOO_MANY: u16 = 50;
    const ENDED: u16 = 100;
    let options = KernelOptions {
        traffic: TrafficLevel::Connections,
        max_listeners: ROOM.into(),
        max_peers: 64,
        listener_ring_bytes: 4096,
        connection_ring_bytes: 4096,
        records_per_second: 1,
        record_by_default: false,
        log: KernelLogLevel::Off,
    };
    let (mut hooks, _) = KernelHooks::load(&options, &StateFeed::default()).expect("the kernel side");
    let port = |port: u16| {
        let port = NonZeroU16::new(port).expect("a port");
        PortId { netns: NetnsId(u64::MAX), protocol: Protocol::Sctp, port }
    };
    for number in 1..=ROOM + TOO_MANY {
        hooks.watch(port(number));
    }
    assert!(hooks.lost()["port-stats-map-full"] >= u64::from(TOO_MANY));
    for number in 1..=ENDED {
        hooks.unwatch(port(number));
    }
    hooks.unwatch_unknown_ports(usize::MAX, |_| true, BootTime(1));
    hooks.drain(BootTime(2));
    let (_, used, _) = *hooks.map_usage().iter().find(|(map, ..)| *map == "port-stats").expect("listed");
    assert!(used >= u64::from(ROOM - ENDED + TOO_MANY), "{used} ports are counted");
}
