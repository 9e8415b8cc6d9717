//! TCP connections that a rule in the pod redirects to another port: they count for the port that the client dialled.

use std::net::SocketAddr;

use libtest_mimic::Trial;
use portolan_engine::model::identity::Protocol;

use super::case;
use crate::actor::protocol::Transport;
use crate::harness::actor::Actor;
use crate::harness::kernel_side::{KernelSide, port};
use crate::harness::network::nat_rule;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("redirected/a_port_to_another", a_port_to_another),
        case("redirected/every_port_to_a_proxy", every_port_to_a_proxy),
        case("redirected/over_ipv6_and_to_a_dual_stack_listener", over_ipv6_and_to_a_dual_stack_listener),
        case("redirected/a_scan_through_the_rule_is_bounded", a_scan_through_the_rule_is_bounded),
        case("redirected/connections_and_bytes_are_in_one_record", connections_and_bytes_are_in_one_record),
        case("redirected/a_call_through_a_proxy_counts_for_the_application", through_a_proxy),
    ]
}

const LENGTH: usize = 300_000;

fn redirect(world: &World, tool: &str, rule: &str) {
    nat_rule(&world.network.netns("web"), tool, &format!("PREROUTING {rule}"));
}

/// Sends data over a connection of its own.
fn send(client: &Actor, to: SocketAddr) {
    let peer = client.connect(to);
    peer.write(LENGTH);
    peer.close();
}

fn a_port_to_another() {
    let world = World::new(&["web:80", "curler"]);
    redirect(&world, "iptables", "-p tcp --dport 80 -j REDIRECT --to-ports 8080");
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("web"));
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:8080");
    (0..3).for_each(|_| send(&curler, world.v4("web", 80)));
    curler.connect_many(world.v4("web", 8080), 1);
    let dialled = side.port(port(netns, Protocol::Tcp, 80), "all three calls", |port| port.connections == 3);
    assert_eq!(dialled.attempts, 3, "the SYN that came before the port had counters counts too");
    let caller = dialled.peers[&world.address("curler")];
    assert_eq!((caller.connections, caller.accepted_by), (3, Some(8080)));
    let accepting =
        side.port(port(netns, Protocol::Tcp, 8080), "the direct call", |port| port.connections == 1);
    assert_eq!(accepting.attempts, 1);
    assert_eq!(accepting.peers[&world.address("curler")].accepted_by, None);
    // Also those of the first connection, which came before the port had counters.
    let bytes =
        side.port(port(netns, Protocol::Tcp, 80), "its bytes", |port| port.bytes > 3 * LENGTH as u64).bytes;
    assert!(bytes < 4 * LENGTH as u64, "{bytes}");
}

fn every_port_to_a_proxy() {
    let world = World::new(&["web:8080", "curler"]);
    redirect(&world, "iptables", "-i eth0 -p tcp ! --dport 15006 -j REDIRECT --to-ports 15006");
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("web"));
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:5000");
    web.serve("0.0.0.0:15006");
    for _ in 0..5 {
        curler.connect_many(world.v4("web", 5000), 1);
        // What the proxy then does.
        web.connect_many("127.0.0.1:5000".parse().unwrap(), 1);
    }
    let seen = side.port(port(netns, Protocol::Tcp, 5000), "both halves", |port| port.connections == 10);
    assert_eq!(seen.attempts, 10);
    let caller = seen.peers[&world.address("curler")];
    assert_eq!((caller.connections, caller.accepted_by), (5, Some(15_006)));
    let proxy = seen.peers[&"127.0.0.1".parse().unwrap()];
    assert_eq!((proxy.connections, proxy.accepted_by), (5, None));
    let of_proxy = side.port(port(netns, Protocol::Tcp, 15_006), "nothing", |_| true);
    assert_eq!((of_proxy.connections, of_proxy.peers.len()), (0, 0));
}

fn over_ipv6_and_to_a_dual_stack_listener() {
    let world = World::new(&["web:80", "curler"]);
    for tool in ["iptables", "ip6tables"] {
        redirect(&world, tool, "-p tcp --dport 80 -j REDIRECT --to-ports 8080");
    }
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("web"));
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("[::]:8080");
    curler.connect_many(world.v4("web", 80), 2);
    curler.connect_many(world.v6("web", 80), 3);
    let seen = side.port(port(netns, Protocol::Tcp, 80), "calls of both kinds", |port| port.connections == 5);
    let [v4, v6] = [world.address("curler"), world.network.v6("curler")].map(|address| seen.peers[&address]);
    assert_eq!((v4.connections, v4.accepted_by), (2, Some(8080)));
    assert_eq!((v6.connections, v6.accepted_by), (3, Some(8080)));
}

fn a_scan_through_the_rule_is_bounded() {
    const CAPACITY: u32 = 128;
    const SCANNED: u16 = 200;
    let world = World::new(&["web", "curler"]);
    redirect(&world, "iptables", "-i eth0 -p tcp -j REDIRECT --to-ports 15006");
    let mut side = KernelSide::load(CAPACITY);
    let netns = side.attach(&world.network.netns("web"));
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:15006");
    // Each from a port of its own: where two tracked calls of one source port are redirected to one port, netfilter
    // gives the second another source port, which hides what it dialled.
    for dialled in 1..=SCANNED {
        let socket = curler.open(Transport::Tcp, false);
        socket.bind(SocketAddr::new(world.address("curler"), 20_000 + dialled));
        socket.connect(world.v4("web", dialled));
        socket.close();
    }
    let accepting = port(netns, Protocol::Tcp, 15_006);
    let bound = u64::from(SCANNED) - u64::from(CAPACITY / 2);
    let rest = side.port(accepting, "those that found no room", |port| port.connections >= bound);
    // The last connections may still be on their way.
    let all = eventually(TIMEOUT, "every connection counts once", || {
        side.port(accepting, "a drain", |_| true);
        let of_netns = side.ports().iter().filter(|(id, _)| id.netns == netns);
        let connections: u64 = of_netns.map(|(_, port)| port.connections).sum();
        if connections >= u64::from(SCANNED) { Ok(connections) } else { Err(format!("{connections}")) }
    });
    assert_eq!(all, u64::from(SCANNED));
    let rest = side.port(accepting, "as before", |port| port.connections >= rest.connections);
    assert_eq!(side.lost("redirected-ports-full"), rest.connections);
    assert_eq!(rest.peers[&world.address("curler")].connections, rest.connections);
}

fn connections_and_bytes_are_in_one_record() {
    let world = World::new(&["web:80", "curler"]);
    redirect(&world, "iptables", "-p tcp --dport 80 -j REDIRECT --to-ports 8080");
    let agent = world.agent();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:8080");
    (0..3).for_each(|_| send(&curler, world.v4("web", 80)));
    let seen = world.listener(&agent, "web", 80, |item| {
        item.traffic.connections == 3 && item.traffic.bytes > 3 * LENGTH as u64
    });
    let caller = &seen.traffic.peers[0];
    assert_eq!(caller.address, world.address("curler").to_string());
    let via = caller.via.as_ref().expect("the redirect");
    assert_eq!((via.kind.as_str(), via.port), ("proxy", 8080));
}

fn through_a_proxy() {
    let world = World::new(&["web:8080", "curler"]);
    redirect(&world, "iptables", "-i eth0 -p tcp ! --dport 15006 -j REDIRECT --to-ports 15006");
    let agent = world.agent();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:5000");
    web.serve("0.0.0.0:15006");
    world.finding(&agent, "web", 5000, |finding| finding.state == "open");
    for _ in 0..5 {
        curler.connect_many(world.v4("web", 5000), 1);
        web.connect_many("127.0.0.1:5000".parse().unwrap(), 1);
    }
    let active = world.finding(&agent, "web", 5000, |finding| {
        finding.code == "undeclared-active" && finding.traffic.connections == 5
    });
    let caller = &active.traffic.peers[0];
    assert_eq!(caller.address, world.address("curler").to_string());
    assert_eq!(caller.via.as_ref().map(|via| (via.kind.as_str(), via.port)), Some(("proxy", 15_006)));
}
