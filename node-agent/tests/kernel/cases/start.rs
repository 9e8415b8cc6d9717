//! The start on a node with many interfaces: each link waits for the kernel, and nothing else waits for the links.

use libtest_mimic::Trial;

use super::case;
use super::netns_churn::held;
use crate::actor::protocol::Request;
use crate::harness::actor::Actor;
use crate::harness::agent::{Agent, Stdout};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

/// Number of namespaces with two interfaces each.
const NAMESPACES: usize = 40;

pub fn cases() -> Vec<Trial> {
    vec![case("start/ready_with_many_interfaces_and_every_one_attached", ready_with_many_interfaces)]
}

fn ready_with_many_interfaces() {
    let mut world = World::new(&["web", "client"]);
    let crowd = world.network.add_crowd(NAMESPACES);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    let options = ["--record", "none"];
    let mut agent =
        Agent::start_unready(&world.metadata(), world.scratch.path("api.sock"), &options, Stdout::Read);
    agent.wait_ready();
    // Listings, findings and connections need no attached interface.
    world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-reachable");
    client.connect_many(world.v4("web", 7000), 3);
    let found = world.finding(&agent, "web", 7000, |finding| finding.traffic.connections == 3);
    assert_eq!(found.code, "undeclared-active");
    agent.wait_attached();
    let hooks = agent.status().hooks;
    assert!(hooks.iter().all(|hook| hook.state == "attached"), "{hooks:?}");
    packets_are_counted(&world, &agent, &web, &client);
    programs_are_held_by_their_links_alone(&mut world, &agent, &crowd);
    world.settles(&agent);
}

/// From now on no incoming packet is missed.
fn packets_are_counted(world: &World, agent: &Agent, web: &Actor, client: &Actor) {
    const LENGTH: usize = 100_000;
    let socket = web.listen("0.0.0.0:7001");
    let peer = client.connect(world.v4("web", 7001));
    let served = socket.accept();
    peer.write(LENGTH);
    web.order(&Request::Read { socket: served.name(), length: LENGTH });
    let seen = world.listener(agent, "web", 7001, |item| item.traffic.bytes > LENGTH as u64);
    assert!(seen.traffic.packets > 0 && seen.traffic.connections == 1, "{:?}", seen.traffic);
}

/// A program has no descriptor once it is attached, and a link none once its namespace is gone.
fn programs_are_held_by_their_links_alone(world: &mut World, agent: &Agent, crowd: &[String]) {
    let count = |kind| held(agent).get(kind).copied().unwrap_or_default();
    let (programs, links) = (count("bpf-prog"), count("bpf_link"));
    assert!(programs < NAMESPACES && links >= 3 * NAMESPACES, "{programs} programs, {links} links");
    for role in crowd {
        world.network.remove(role);
    }
    eventually(3 * TIMEOUT, "the crowd's links are gone", || {
        let left = count("bpf_link");
        if left + 2 * NAMESPACES <= links { Ok(()) } else { Err(format!("{left} of {links} links")) }
    });
}
