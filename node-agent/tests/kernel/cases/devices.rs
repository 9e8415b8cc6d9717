//! Interfaces other than a pod's veth: a device without a link header, and packets that arrive in fragments.

use libtest_mimic::Trial;

use super::case;
use crate::actor::protocol::{Payload, Request, Transport};
use crate::harness::actor::Actor;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

const UDP_V4: u64 = 28;
const UDP_V6: u64 = 48;

pub fn cases() -> Vec<Trial> {
    vec![
        case("devices/without_a_link_header", without_a_link_header),
        case("devices/without_a_link_header_that_appears_later", without_a_link_header_later),
        case("devices/ipv6_fragments", ipv6_fragments),
        case("devices/datagrams_by_every_system_call", datagrams_by_every_system_call),
    ]
}

fn add_tun(world: &World, actor: &Actor) {
    actor.order(&Request::OpenTun { name: "tun0".into() });
    world.network.ip(
        "web",
        "address add 10.99.0.1/24 dev tun0\naddress add fd99::1/64 dev tun0 nodad\nlink set tun0 up\n",
    );
}

fn arrive(actor: &Actor, from: &str, to: &str, payload: Payload, times: u32) {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    actor.order(&Request::FromTun { from, to, payload, times });
}

fn without_a_link_header() {
    let world = World::new(&["web"]);
    let web = world.actor("web");
    add_tun(&world, &web);
    let agent = world.agent();
    web.udp("[::]:53");
    web.listen("0.0.0.0:7000");
    world.settles(&agent);
    arrive(&web, "10.99.0.2:4000", "10.99.0.1:53", Payload::Datagram(100), 11);
    // At the position of an Ethernet header's type this packet has the type of IPv4.
    arrive(&web, "8.0.69.0:4000", "10.99.0.1:53", Payload::Datagram(100), 5);
    arrive(&web, "[fd99::2]:4000", "[fd99::1]:53", Payload::Datagram(100), 7);
    arrive(&web, "10.99.0.2:4000", "10.99.0.1:7000", Payload::Syn, 1);
    let seen = world.listener(&agent, "web", 53, |item| item.traffic.packets >= 23);
    let bytes = 16 * (UDP_V4 + 100) + 7 * (UDP_V6 + 100);
    assert_eq!((seen.traffic.packets, seen.traffic.bytes, seen.traffic.attempts), (23, bytes, 0));
    let peers: std::collections::BTreeMap<_, _> =
        seen.traffic.peers.iter().map(|peer| (peer.address.as_str(), peer.packets)).collect();
    assert_eq!(peers, [("10.99.0.2", 11), ("8.0.69.0", 5), ("fd99::2", 7)].into());
    let knocked = world.listener(&agent, "web", 7000, |item| item.traffic.packets == 1);
    assert_eq!((knocked.traffic.attempts, knocked.traffic.connections), (1, 0));
    world.settles(&agent);
}

fn without_a_link_header_later() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.udp("0.0.0.0:53");
    world.settles(&agent);
    add_tun(&world, &web);
    let netns = world.network.netns("web");
    let send = |times| arrive(&web, "10.99.0.2:4000", "10.99.0.1:53", Payload::Datagram(100), times);
    let counted = |wanted: u64| {
        let listed = agent.listeners()?;
        let mine = listed.iter().find(|item| item.netns.name.as_ref() == Some(&netns) && item.port == 53);
        let bytes = mine.ok_or("not listed")?.traffic.bytes;
        // Until a program is attached, only the socket lookup reports a datagram, and it has no length.
        if bytes >= wanted { Ok(bytes) } else { Err(format!("{bytes} bytes")) }
    };
    eventually(3 * TIMEOUT, "packets of the late device are counted", || {
        send(1);
        counted(1)
    });
    send(5);
    let bytes = eventually(TIMEOUT, "each of them", || counted(6 * (UDP_V4 + 100)));
    assert_eq!(bytes % (UDP_V4 + 100), 0, "with its length");
    world.settles(&agent);
}

/// As with IPv4, only the first fragment carries ports.
fn ipv6_fragments() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let socket = dns.udp("[::]:53");
    world.listener(&agent, "dns", 53, |_| true);
    client.open(Transport::Udp, true).send_to(world.v6("dns", 53), 4000, 10);
    socket.receive(10);
    let seen = world.listener(&agent, "dns", 53, |item| item.traffic.packets >= 10);
    assert_eq!((seen.traffic.packets, seen.traffic.attempts), (10, 0));
    let peer = &seen.traffic.peers[0];
    assert_eq!(peer.address, world.network.v6("client").to_string());
    world.settles(&agent);
}

fn datagrams_by_every_system_call() {
    let world = World::new(&["dns", "client"]);
    let agent = world.agent();
    let (dns, client) = (world.actor("dns"), world.actor("client"));
    let socket = dns.udp("0.0.0.0:53");
    world.listener(&agent, "dns", 53, |_| true);
    let to = world.v4("dns", 53);
    let sender = client.open(Transport::Udp, false);
    let mut sent = 0;
    for receive in [
        Request::Receive { socket: socket.name(), times: 60 },
        Request::ReceiveMessages { socket: socket.name(), times: 60 },
        Request::ReceiveMany { socket: socket.name(), times: 60 },
    ] {
        sender.send_to(to, 200, 20);
        client.order(&Request::SendMessages { socket: sender.name(), to, length: 200, times: 20 });
        let many = Request::SendMany { socket: sender.name(), to, length: 200, times: 20 };
        assert_eq!(client.number(&many), 20);
        dns.order(&receive);
        sent += 60;
    }
    let seen = world.listener(&agent, "dns", 53, |item| item.traffic.packets >= sent);
    assert_eq!((seen.traffic.packets, seen.traffic.attempts), (sent, 0));
    assert_eq!(seen.traffic.bytes, sent * (200 + UDP_V4));
    assert_eq!(seen.traffic.peers.len(), 1);
    world.settles(&agent);
}
