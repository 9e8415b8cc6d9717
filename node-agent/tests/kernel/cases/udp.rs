//! UDP: which sockets serve, and which are only clients.

use std::net::IpAddr;

use libtest_mimic::Trial;
use portolan_engine::model::identity::Protocol;

use super::case;
use crate::actor::protocol::{Request, SocketOptions, Transport};
use crate::harness::actor::at;
use crate::harness::kernel_side::{KernelSide, port};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("udp/served", served),
        case("udp/client_is_no_listener", client_is_no_listener),
        case("udp/connected_after_bind", connected_after_bind),
        case("udp/ephemeral_bind_may_be_a_client", ephemeral_bind_may_be_a_client),
        case("udp/ephemeral_bind_that_serves_several_peers", ephemeral_bind_that_serves_several_peers),
        case("udp/who_speaks_first_asks", who_speaks_first_asks),
        case("udp/a_connected_socket_asks", a_connected_socket_asks),
        case("udp/after_a_broadcast_everybody_may_answer", after_a_broadcast_everybody_may_answer),
        case("udp/answers_to_a_socket_that_the_kernel_bound", answers_to_a_socket_that_the_kernel_bound),
        case("udp/a_talk_older_than_the_agent_is_proven_by_a_pause", a_talk_older_than_the_agent),
        case("udp/icmp_errors_are_no_datagrams", icmp_errors_are_no_datagrams),
        case("udp/callers_inside_the_pod_count_once", callers_inside_the_pod_count_once),
        case("udp/segments_count_once", segments_count_once),
        case("udp/a_client_of_two_servers_is_no_listener", a_client_of_two_servers_is_no_listener),
        case("udp/a_server_on_an_ephemeral_port_with_one_caller", server_on_an_ephemeral_port),
        case("udp/tcp_of_the_same_port_is_another_listener", tcp_of_the_same_port_is_another_listener),
    ]
}

fn served() {
    let world = World::new(&["dns:53", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let socket = dns.udp("0.0.0.0:53");
    let seen = world.listener(&agent, "dns", 53, |item| item.protocol == "UDP");
    assert_eq!(seen.declaration.status, "undeclared", "TCP 53 is not UDP 53");
    client.open(Transport::Udp, false).send_to(world.v4("dns", 53), 100, 5);
    socket.receive(5);
    let sixth = dns.udp(&world.v6("dns", 54).to_string());
    client.open(Transport::Udp, true).send_to(world.v6("dns", 54), 100, 1);
    sixth.receive(1);
    world.listener(&agent, "dns", 53, |item| item.traffic.packets == 5);
    let active = world.finding(&agent, "dns", 53, |finding| finding.code == "undeclared-active");
    assert_eq!(active.traffic.peers[0].address, world.address("client").to_string());
    world.settles(&agent);
}

fn client_is_no_listener() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let socket = dns.udp("0.0.0.0:53");
    let (asker, connected) = (client.open(Transport::Udp, false), client.open(Transport::Udp, false));
    asker.send_to(world.v4("dns", 53), 10, 1);
    connected.connect(world.v4("dns", 53));
    socket.receive(1);
    // Whatever is seen later than both was decided after both.
    client.listen("0.0.0.0:7000");
    world.listener(&agent, "client", 7000, |_| true);
    let netns = world.network.netns("client");
    let udp = agent
        .listeners()
        .unwrap()
        .into_iter()
        .find(|item| item.netns.name.as_ref() == Some(&netns) && item.protocol == "UDP");
    assert!(udp.is_none(), "{udp:?}");
    world.settles(&agent);
}

fn connected_after_bind() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let dns = world.actor("dns");
    let socket = dns.udp("0.0.0.0:53");
    world.listener(&agent, "dns", 53, |_| true);
    socket.connect(world.v4("client", 9));
    // The socket serves one peer only now: nothing to report, and none of the agent's hooks sees the change.
    world.settles_within(&agent, 4 * TIMEOUT);
    assert!(world.kernel().is_empty());
    socket.disconnect();
}

fn ephemeral_bind_may_be_a_client() {
    let world = World::new(&["client"]);
    let agent = world.agent();
    let client = world.actor("client");
    client.udp("0.0.0.0:40000");
    client.udp("0.0.0.0:7000");
    world.finding(&agent, "client", 7000, |finding| finding.code == "undeclared-reachable");
    world.listener(&agent, "client", 40_000, |item| item.unproven);
    let findings = world.findings_of(&agent, "client").expect("GET /v1/findings");
    assert_eq!(findings.len(), 1, "{findings:?}");
    world.settles(&agent);
}

fn ephemeral_bind_that_serves_several_peers() {
    let world = World::new(&["quic", "one", "two"]);
    let agent = world.agent();
    let quic = world.actor("quic");
    let socket = quic.udp("0.0.0.0:40000");
    for role in ["one", "two"] {
        world.actor(role).open(Transport::Udp, false).send_to(world.v4("quic", 40_000), 10, 3);
        socket.receive(3);
    }
    eventually(4 * TIMEOUT, "several peers make it a listener", || {
        let netns = world.network.netns("quic");
        let shown = agent
            .listeners()?
            .into_iter()
            .any(|item| item.netns.name.as_ref() == Some(&netns) && item.port == 40_000);
        if shown { Ok(()) } else { Err("not listed".into()) }
    });
}

fn tcp_of_the_same_port_is_another_listener() {
    let world = World::new(&["dns:53/UDP"]);
    let agent = world.agent();
    let dns = world.actor("dns");
    dns.udp("0.0.0.0:53");
    dns.listen("0.0.0.0:53");
    world.settles(&agent);
    let finding = world.finding(&agent, "dns", 53, |finding| finding.state == "open");
    assert_eq!(finding.listener.unwrap().protocol, "TCP");
    dns.order(&Request::CloseAll);
    world.settles(&agent);
}

/// Both directions of one port at once, over IPv4, IPv6 and from a dual-stack socket.
fn who_speaks_first_asks() {
    let world = World::new(&["dns", "client", "upstream"]);
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("dns"));
    let (dns, client, upstream) = (world.actor("dns"), world.actor("client"), world.actor("upstream"));
    let socket = dns.udp("[::]:53");
    let (caller, asked) = (client.udp("[::]:2000"), upstream.udp("[::]:53"));
    for (to_caller, to_asked, own) in [
        (mapped(world.v4("client", 2000)), mapped(world.v4("upstream", 53)), world.v4("dns", 53)),
        (world.v6("client", 2000), world.v6("upstream", 53), world.v6("dns", 53)),
    ] {
        caller.send_to(mapped(own), 10, 1);
        socket.receive(1);
        socket.send_to(to_asked, 10, 1);
        asked.receive(1);
        asked.send_to(mapped(own), 20, 2);
        socket.receive(2);
        socket.send_to(to_caller, 10, 1);
        caller.receive(1);
    }
    let seen = side.port(port(netns, Protocol::Udp, 53), "both families", |port| port.packets == 6);
    let seen = side.port(port(netns, Protocol::Udp, 53), "every peer", |port| {
        port.peers.len() == 4 && port.peers.values().map(|peer| peer.packets).sum::<u64>() == seen.packets
    });
    assert_eq!(seen.attempts, 0, "tc counts what comes over an interface");
    assert_eq!(seen.callers(), [world.address("client"), world.network.v6("client")]);
    assert_eq!(seen.addressed(), [world.address("upstream"), world.network.v6("upstream")]);
}

/// Returns the address as an IPv6 socket uses it.
fn mapped(address: std::net::SocketAddr) -> std::net::SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => at(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn a_connected_socket_asks() {
    let world = World::new(&["client", "dns"]);
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("client"));
    let (client, dns) = (world.actor("client"), world.actor("dns"));
    for v6 in [false, true] {
        let (any, to) = if v6 { ("[::]", world.v6("dns", 53)) } else { ("0.0.0.0", world.v4("dns", 53)) };
        let server = dns.udp(&format!("{any}:53"));
        let socket = client.udp(&format!("{any}:{}", 2000 + u16::from(v6)));
        socket.connect(to);
        client.order(&Request::Write { socket: socket.name(), length: 5 });
        server.receive(1);
        server.send_to(
            at(if v6 { world.network.v6("client") } else { world.address("client") }, socket.local().port()),
            9,
            1,
        );
        socket.receive(1);
        let seen = side.port(port(netns, Protocol::Udp, socket.local().port()), "the answer", |port| {
            port.packets == 1 && !port.peers.is_empty()
        });
        assert_eq!(seen.addressed(), [to.ip()]);
        server.close();
    }
}

fn after_a_broadcast_everybody_may_answer() {
    let world = World::new(&["client", "one", "two", "three"]);
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("client"));
    let client = world.actor("client");
    let options = SocketOptions { broadcast: true, ..SocketOptions::default() };
    let socket = client.open_with(Transport::Udp, false, options);
    socket.bind("0.0.0.0:1900".parse().unwrap());
    let three = world.actor("three");
    three.open(Transport::Udp, false).send_to(world.v4("client", 1900), 10, 1);
    socket.receive(1);
    socket.send_to("10.77.0.255:1900".parse().unwrap(), 10, 1);
    for role in ["one", "two"] {
        world.actor(role).open(Transport::Udp, false).send_to(world.v4("client", 1900), 10, 1);
    }
    socket.receive(3);
    let seen = side.port(port(netns, Protocol::Udp, 1900), "who answered, and whoever else may", |port| {
        port.peers.len() == 6
    });
    let broadcast: IpAddr = "10.77.0.255".parse().unwrap();
    let everybody: IpAddr = "ff00::".parse().unwrap();
    // The sender hears its own broadcast.
    let [own, one, two] = ["client", "one", "two"].map(|role| world.address(role));
    assert_eq!(seen.addressed(), [own, one, two, broadcast, everybody]);
    assert_eq!(seen.callers(), [world.address("three")], "it came before anybody was asked");
    let again = side.port(port(netns, Protocol::Udp, 1900), "nothing new", |port| port.packets == 4);
    assert_eq!(again.peers.len(), 6);
}

/// The agent finds such a socket by a scan, when answers may be on their way.
fn answers_to_a_socket_that_the_kernel_bound() {
    let world = World::new(&["client", "one", "two"]);
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("client"));
    let (client, one, two) = (world.actor("client"), world.actor("one"), world.actor("two"));
    let servers = [one.udp("0.0.0.0:53"), two.udp("0.0.0.0:53")];
    let socket = client.open(Transport::Udp, false);
    for role in ["one", "two"] {
        socket.send_to(world.v4(role, 53), 10, 1);
    }
    let own = at(world.address("client"), socket.local().port());
    let port = port(netns, Protocol::Udp, own.port());
    side.watch(port);
    for server in servers {
        server.receive(1);
        server.send_to(own, 10, 2);
        socket.receive(2);
    }
    let seen = side.port(port, "the answers", |port| port.packets == 4 && port.peers.len() == 2);
    assert_eq!(seen.addressed(), [world.address("one"), world.address("two")]);
}

/// Of two that talked before, it is not known who asked, until one of them speaks after a pause.
fn a_talk_older_than_the_agent() {
    let world = World::new(&["server", "caller", "other"]);
    let (server, caller, other) = (world.actor("server"), world.actor("caller"), world.actor("other"));
    let socket = server.udp("0.0.0.0:51820");
    let (calling, asked) = (caller.udp("0.0.0.0:2000"), other.udp("0.0.0.0:3000"));
    calling.send_to(world.v4("server", 51_820), 10, 1);
    socket.receive(1);
    let mut side = KernelSide::load(4096);
    let netns = side.attach(&world.network.netns("server"));
    let id = port(netns, Protocol::Udp, 51_820);
    side.watch(id);
    // The answer to what the agent did not see, and a question.
    socket.send_to(world.v4("caller", 2000), 10, 1);
    calling.receive(1);
    socket.send_to(world.v4("other", 3000), 10, 1);
    asked.receive(1);
    asked.send_to(world.v4("server", 51_820), 10, 1);
    socket.receive(1);
    let unproven = side.port(id, "the answer", |port| port.packets == 1);
    assert!(unproven.peers.is_empty(), "{unproven:?}");
    side.wait_until_proven();
    calling.send_to(world.v4("server", 51_820), 10, 1);
    socket.receive(1);
    socket.send_to(world.v4("other", 3000), 10, 1);
    let seen = side.port(id, "both directions", |port| port.peers.len() == 2 && port.packets == 2);
    assert_eq!(seen.callers(), [world.address("caller")]);
    assert_eq!(seen.addressed(), [world.address("other")]);
    assert_eq!(seen.peers[&world.address("other")].packets, 1, "what came before it was proven counts");
}

fn icmp_errors_are_no_datagrams() {
    let world = World::new(&["sip", "gone"]);
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("sip"));
    let sip = world.actor("sip");
    let socket = sip.udp("0.0.0.0:5060");
    for to in [world.v4("gone", 9), "127.0.0.1:9".parse().unwrap(), world.v4("sip", 9)] {
        // An unconnected socket does not learn of the errors.
        socket.send_to(to, 10, 3);
    }
    let id = port(netns, Protocol::Udp, 5060);
    // What is heard later than the errors was counted after them.
    world.actor("gone").open(Transport::Udp, false).send_to(world.v4("sip", 5061), 1, 1);
    let seen = side.port(id, "whom it addressed", |port| port.peers.len() == 3);
    assert!(seen.callers().is_empty(), "{seen:?}");
    side.wait_until_proven();
    let seen = side.port(id, "no datagram", |_| true);
    assert_eq!((seen.packets, seen.attempts), (0, 0), "{seen:?}");
}

fn callers_inside_the_pod_count_once() {
    let world = World::new(&["dns"]);
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("dns"));
    let dns = world.actor("dns");
    let socket = dns.udp("0.0.0.0:53");
    let own = world.address("dns");
    for (from, to) in [("127.0.0.1", "127.0.0.1".parse().unwrap()), ("0.0.0.0", own), ("127.0.0.2", own)] {
        dns.udp(&format!("{from}:0")).send_to(at(to, 53), 10, 2);
        socket.receive(2);
    }
    let seen = side.port(port(netns, Protocol::Udp, 53), "every caller", |port| port.attempts == 6);
    assert_eq!(seen.packets, 0, "nothing came over an interface");
    assert_eq!(seen.callers(), [own, "127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()]);
    assert!(seen.peers.values().all(|peer| peer.attempts == 2), "{seen:?}");
}

/// Segmentation offload passes many datagrams as one buffer. Each counts once, whether or not the receiver merges them.
fn segments_count_once() {
    const SEGMENT: u16 = 1000;
    const BUFFERS: u32 = 5;
    const LENGTH: usize = 8 * SEGMENT as usize;
    let world = World::new(&["quic", "client"]);
    let (mut side, netns) = KernelSide::in_netns(&world.network.netns("quic"));
    let (quic, client) = (world.actor("quic"), world.actor("client"));
    for (number, receive_merged) in [(4433_u16, false), (4434, true)] {
        let options = SocketOptions { receive_merged, ..SocketOptions::default() };
        let socket = quic.open_with(Transport::Udp, false, options);
        socket.bind(format!("0.0.0.0:{number}").parse().unwrap());
        let options = SocketOptions { segment: SEGMENT, ..SocketOptions::default() };
        client.open_with(Transport::Udp, false, options).send_to(world.v4("quic", number), LENGTH, BUFFERS);
        let all = LENGTH * BUFFERS as usize;
        quic.order(&Request::ReceiveBytes { socket: socket.name(), length: all });
        let datagrams = u64::from(8 * BUFFERS);
        let seen =
            side.port(port(netns, Protocol::Udp, number), "every segment", |port| port.packets >= datagrams);
        // Each has a header of IP and of UDP.
        assert_eq!((seen.packets, seen.bytes), (datagrams, all as u64 + 28 * datagrams));
        assert_eq!(seen.attempts, 0);
        assert_eq!(seen.callers(), [world.address("client")]);
    }
}

/// Ends with a listener that opened later: whatever was decided about the client was decided before.
fn a_client_of_two_servers_is_no_listener() {
    let world = World::new(&["client", "one", "two"]);
    let agent = world.agent();
    let (client, one, two) = (world.actor("client"), world.actor("one"), world.actor("two"));
    let servers = [("one", one.udp("0.0.0.0:53")), ("two", two.udp("0.0.0.0:53"))];
    for bound in [None, Some("0.0.0.0:20000")] {
        let socket = client.open(Transport::Udp, false);
        if let Some(bound) = bound {
            socket.bind(bound.parse().unwrap());
        }
        for (role, server) in &servers {
            socket.send_to(world.v4(role, 53), 10, 1);
            server.receive(1);
            server.send_to(at(world.address("client"), socket.local().port()), 10, 1);
            socket.receive(1);
        }
    }
    client.listen("0.0.0.0:7000");
    world.finding(&agent, "client", 7000, |finding| finding.state == "open");
    let findings = world.findings_of(&agent, "client").expect("findings");
    let udp: Vec<_> =
        findings.iter().filter_map(|item| item.listener.as_ref()).filter(|of| of.protocol == "UDP").collect();
    assert!(udp.is_empty(), "{udp:?}");
}

fn server_on_an_ephemeral_port() {
    let world = World::new(&["server", "client"]);
    let agent = world.agent();
    let (server, client) = (world.actor("server"), world.actor("client"));
    let (socket, caller) = (server.udp("0.0.0.0:51820"), client.udp("0.0.0.0:2000"));
    caller.send_to(world.v4("server", 51_820), 10, 1);
    socket.receive(1);
    socket.send_to(world.v4("client", 2000), 10, 1);
    caller.receive(1);
    let active = world.finding(&agent, "server", 51_820, |finding| finding.code == "undeclared-active");
    assert_eq!(active.traffic.peers[0].address, world.address("client").to_string());
}
