//! The addresses of the node, however many it has.

use std::fmt::Write;

use libtest_mimic::Trial;

use super::case;
use crate::harness::agent::Agent;
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![case("node_addresses/three_hundred_on_one_interface", three_hundred_on_one_interface)]
}

/// IPVS gives one interface of the node an address per Service. A host process calls from the last of them.
fn three_hundred_on_one_interface() {
    let world = World::new(&["web"]);
    let mut batch = String::from("link add kube-ipvs0 type veth peer name unused\nlink set kube-ipvs0 up\n");
    for index in 0..300 {
        let (high, low) = (index / 200, index % 200 + 1);
        writeln!(batch, "address add 10.99.{high}.{low}/32 dev kube-ipvs0").unwrap();
        writeln!(batch, "address add fd99::{high}:{low}/128 dev kube-ipvs0 nodad").unwrap();
    }
    world.network.ip("hub", &batch);
    world.network.ip("web", "route add 10.99.0.0/16 via 10.77.0.1\nroute add fd99::/64 via fd77::1\n");
    let agent =
        Agent::start_on_node(&world.network.netns("hub"), &world.metadata(), world.scratch.path("api.sock"));
    let (web, host) = (world.actor("web"), world.actor("hub"));
    web.serve("[::]:7000");
    let last = ["10.99.1.100:0", "[fd99::1:100]:0"];
    for (from, to) in last.into_iter().zip([world.v4("web", 7000), world.v6("web", 7000)]) {
        let caller = host.open(crate::actor::protocol::Transport::Tcp, to.is_ipv6());
        caller.bind(from.parse().unwrap());
        caller.connect(to);
    }
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.peers.len() == 2);
    for peer in &seen.traffic.peers {
        assert_eq!(peer.origin, "node", "{peer:?}");
    }
}
