//! How listeners end, and listeners that live very briefly.

use libtest_mimic::Trial;
use portolan_report::wire::Report;

use super::case;
use crate::actor::protocol::Request;
use crate::harness::agent::Agent;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("lifetime/for_50_ms_only", for_50_ms_only),
        case("lifetime/closed", closed),
        case("lifetime/closed_by_kill", closed_by_kill),
        case("lifetime/closed_by_shutdown_and_listening_again", closed_by_shutdown_and_listening_again),
        case("lifetime/closed_by_disconnect", closed_by_disconnect),
        case("lifetime/closed_by_the_end_of_the_netns", closed_by_the_end_of_the_netns),
        case("lifetime/older_than_the_agent_and_closed", older_than_the_agent_and_closed),
        case("lifetime/restarted_identically_by_another_pid", restarted_identically_by_another_pid),
        case("lifetime/a_netns_that_appears_later", a_netns_that_appears_later),
        case("lifetime/an_interface_that_appears_later", an_interface_that_appears_later),
    ]
}

/// Waits for the line that reports a port of a role as opened or closed.
fn wait_line(world: &World, agent: &Agent, role: &str, port: u16, state: &str) {
    let netns = world.network.netns(role);
    agent.wait_report(&format!("{role}:{port} {state}"), |report| match report {
        Report::Listener(item) if item.port == port && item.state == state => {
            (item.netns.name.as_ref() == Some(&netns)).then_some(())
        }
        _ => None,
    });
}

fn for_50_ms_only() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    world
        .actor("web")
        .order(&Request::ListenBriefly { address: "0.0.0.0:7000".parse().unwrap(), milliseconds: 50 });
    wait_line(&world, &agent, "web", 7000, "open");
    wait_line(&world, &agent, "web", 7000, "closed");
    world.settles(&agent);
    assert!(world.findings_of(&agent, "web").unwrap().iter().all(|item| item.state != "open"));
}

fn closed() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let socket = web.listen("0.0.0.0:7000");
    wait_line(&world, &agent, "web", 7000, "open");
    socket.close();
    wait_line(&world, &agent, "web", 7000, "closed");
    world.settles(&agent);
}

fn closed_by_kill() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    web.udp("0.0.0.0:7001");
    wait_line(&world, &agent, "web", 7001, "open");
    web.kill();
    wait_line(&world, &agent, "web", 7000, "closed");
    wait_line(&world, &agent, "web", 7001, "closed");
    world.settles(&agent);
}

fn closed_by_shutdown_and_listening_again() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let socket = web.listen("0.0.0.0:7000");
    wait_line(&world, &agent, "web", 7000, "open");
    socket.shutdown();
    wait_line(&world, &agent, "web", 7000, "closed");
    world.settles(&agent);
    // The same socket has the same cookie.
    socket.listen(5);
    world.listener(&agent, "web", 7000, |item| item.state == "open");
    world.settles(&agent);
}

fn closed_by_disconnect() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let socket = web.listen("0.0.0.0:7000");
    wait_line(&world, &agent, "web", 7000, "open");
    socket.disconnect();
    wait_line(&world, &agent, "web", 7000, "closed");
    world.settles(&agent);
    socket.listen(5);
    world.listener(&agent, "web", socket.local().port(), |item| item.state == "open");
    world.settles(&agent);
}

fn closed_by_the_end_of_the_netns() {
    let mut world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    wait_line(&world, &agent, "web", 7000, "open");
    let netns = world.network.netns("web");
    world.network.remove("web");
    web.kill();
    eventually(TIMEOUT, "nothing of the netns is left", || {
        let left = agent
            .listeners()?
            .into_iter()
            .any(|item| item.netns.name.as_ref() == Some(&netns) && item.state == "open");
        if left { Err("still listed".into()) } else { Ok(()) }
    });
}

fn older_than_the_agent_and_closed() {
    let world = World::new(&["web"]);
    let web = world.actor("web");
    let (first, second, third) =
        (web.listen("0.0.0.0:7000"), web.listen("[::]:7001"), web.udp("0.0.0.0:7002"));
    let agent = world.agent();
    world.settles(&agent);
    first.close();
    wait_line(&world, &agent, "web", 7000, "closed");
    third.close();
    // No hook reports the end of a UDP socket that is older than the agent. A new dual-stack listener causes a scan.
    web.listen("[::]:7003").close();
    wait_line(&world, &agent, "web", 7002, "closed");
    // Shutting down a socket without the flag triggers no hook, so only a later scan finds it.
    second.shutdown();
    world.settles_within(&agent, 4 * TIMEOUT);
}

fn restarted_identically_by_another_pid() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let first = world.actor("web");
    first.listen("0.0.0.0:7000");
    let before = world.listener(&agent, "web", 7000, |item| item.process.is_some());
    first.kill();
    let second = world.actor("web");
    second.listen("0.0.0.0:7000");
    let after = world.listener(&agent, "web", 7000, |item| {
        item.state == "open" && item.process.as_ref().is_some_and(|process| process.pid == second.pid())
    });
    assert_eq!(before.id, after.id, "the same port of the same pod");
    world.settles(&agent);
}

/// In a netns that is long known the rotation finds the new interface. All traffic arrives through it.
fn an_interface_that_appears_later() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    world.settles(&agent);
    let netns = world.network.netns("web");
    world.network.ip("client", &format!("link add late0 type veth peer name late0 netns {netns}\n"));
    for (role, address) in [("web", "10.78.0.1/24"), ("client", "10.78.0.2/24")] {
        world.network.ip(role, &format!("address add {address} dev late0\nlink set late0 up\n"));
    }
    eventually(3 * TIMEOUT, "packets of the late interface are counted", || {
        client.connect_many("10.78.0.1:7000".parse().unwrap(), 1);
        let listed = agent.listeners()?;
        let counted = listed.iter().any(|item| {
            item.netns.name.as_ref() == Some(&netns) && item.port == 7000 && item.traffic.packets > 0
        });
        if counted { Ok(()) } else { Err("none yet".into()) }
    });
    let lost = agent.status().lost.get("handover-failed").copied().unwrap_or(0);
    assert_eq!(lost, 0, "each packet found the shared program");
}

fn a_netns_that_appears_later() {
    let mut world = World::new(&["web"]);
    let agent = world.agent();
    world.network.add_bare("late");
    let late = world.actor("late");
    late.listen("0.0.0.0:7000");
    world.listener(&agent, "late", 7000, |item| item.state == "open");
    late.udp("0.0.0.0:7001");
    world.settles(&agent);
}
