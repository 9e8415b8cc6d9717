//! UDP: which sockets serve, and which are only clients.

use libtest_mimic::Trial;

use super::case;
use crate::actor::protocol::{Request, Transport};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("udp/served", served),
        case("udp/client_is_no_listener", client_is_no_listener),
        case("udp/connected_after_bind", connected_after_bind),
        case("udp/ephemeral_bind_is_a_client", ephemeral_bind_is_a_client),
        case("udp/ephemeral_bind_that_serves_several_peers", ephemeral_bind_that_serves_several_peers),
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

fn ephemeral_bind_is_a_client() {
    let world = World::new(&["client"]);
    let agent = world.agent();
    let client = world.actor("client");
    client.udp("0.0.0.0:40000");
    client.udp("0.0.0.0:7000");
    world.listener(&agent, "client", 7000, |_| true);
    let netns = world.network.netns("client");
    let shown = agent
        .listeners()
        .unwrap()
        .into_iter()
        .any(|item| item.netns.name.as_ref() == Some(&netns) && item.port == 40_000);
    assert!(!shown, "an ephemeral bind alone is a client");
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
