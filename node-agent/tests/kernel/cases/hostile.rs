//! A hostile pod: its effects are bounded and reported.

use libtest_mimic::Trial;
use portolan_report::wire::Report;
use procfs::process::Process;

use super::flood::resident;
use super::{case, exclusive};
use crate::actor::protocol::Request;
use crate::harness::agent::{Stdout, TINY_LISTENER_RING};
use crate::harness::stopwatch::duration_of;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("hostile/every_port_of_a_pod", every_port_of_a_pod),
        exclusive(
            "hostile/ring_overflow_recovers_with_exact_counts",
            ring_overflow_recovers_with_exact_counts,
        ),
        exclusive("hostile/opens_and_closes_at_full_speed", opens_and_closes_at_full_speed),
        case("hostile/full_maps_are_said_and_blind_nobody", full_maps),
    ]
}

fn every_port_of_a_pod() {
    const RESIDENT_LIMIT: u64 = 300 << 20;
    let world = World::new(&["web"]);
    // One netns may take half of the table; with the default size the other half would be counted as lost.
    let agent = world.agent_with(&["--max-listeners", "262144"], Stdout::Read);
    let web = world.actor("web");
    // The number of descriptors per process is limited, so several processes hold the range together.
    let others: Vec<_> = (0..4).map(|_| world.actor("web")).collect();
    let mut listening = 0;
    for (index, actor) in [&web].into_iter().chain(&others).enumerate() {
        let first = u16::try_from(index * 13_107 + 1).unwrap();
        let last = if index == 4 { 65_535 } else { first + 13_106 };
        let address = std::net::SocketAddr::new("0.0.0.0".parse().unwrap(), first);
        listening += actor.number(&Request::ListenRange { address, last_port: last });
    }
    assert_eq!(listening, 65_535);
    world.settles_within(&agent, 6 * TIMEOUT);
    world.finding(&agent, "web", 0, |finding| finding.code == "port-storm" && finding.state == "open");
    let open =
        world.findings_of(&agent, "web").unwrap().into_iter().filter(|item| item.state == "open").count();
    assert!(open <= 150, "{open} open findings");
    let pid = i32::try_from(agent.pid()).unwrap();
    let resident = Process::new(pid).unwrap().statm().unwrap().resident * procfs::page_size();
    assert!(resident < RESIDENT_LIMIT, "{} MiB resident", resident >> 20);
    drop((web, others));
    world.settles_within(&agent, 6 * TIMEOUT);
}

fn ring_overflow_recovers_with_exact_counts() {
    const TIMES: u32 = 500;
    let world = World::new(&["web", "client"]);
    let agent = world.agent_with(&TINY_LISTENER_RING, Stdout::Read);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    client.post(&Request::ConnectMany { to: world.v4("web", 7000), times: TIMES, length: 0 });
    let burst = Request::ListenOften { address: "0.0.0.0:7001".parse().unwrap(), times: 500 };
    eventually(TIMEOUT, "the ring overflows", || {
        web.order(&burst);
        let lost = agent.status().lost.get("listener-ring-full").copied().unwrap_or(0);
        if lost > 0 { Ok(()) } else { Err("nothing lost".into()) }
    });
    client.reply().expect("all connections completed");
    web.listen("0.0.0.0:7002");
    agent.wait_report("a loss that is recovered", |report| match report {
        Report::Loss(loss) if loss.reason == "listener-ring-full" && loss.recovered => Some(()),
        _ => None,
    });
    world.settles(&agent);
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.connections >= u64::from(TIMES));
    assert_eq!(seen.traffic.connections, u64::from(TIMES));
}

/// Four processes in two pods at once, far beyond ten thousand sockets per second.
fn opens_and_closes_at_full_speed() {
    const TIMES: u32 = 10_000;
    const MAY_GROW: u64 = 32 << 20;
    let world = World::new(&["web", "other"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    world.settles(&agent);
    let before = resident(&agent);
    let actors = [7001, 7002].map(|port| ["web", "other"].map(|role| (world.actor(role), port)));
    let taken = duration_of(|| {
        for (actor, port) in actors.iter().flatten() {
            let address = std::net::SocketAddr::new("0.0.0.0".parse().unwrap(), *port);
            actor.post(&Request::ListenOften { address, times: TIMES });
        }
        for (actor, _) in actors.iter().flatten() {
            actor.reply().expect("opened and closed");
        }
    });
    println!("{} sockets opened and closed in {taken:?}", 4 * TIMES);
    web.listen("0.0.0.0:7003");
    world.settles_within(&agent, 3 * TIMEOUT);
    let grown = resident(&agent).saturating_sub(before);
    assert!(grown <= MAY_GROW, "the agent grew by {} KiB", grown >> 10);
    world.listener(&agent, "web", 7000, |item| item.state == "open");
}

/// One pod takes every entry of the kernel's maps. The loss is reported, another pod's port is still found, and it is
/// counted once there is room.
fn full_maps() {
    const ENTRIES: usize = 64;
    let world = World::new(&["web", "other", "client"]);
    let agent = world.agent_with(&["--max-listeners", &ENTRIES.to_string()], Stdout::Read);
    let (web, other, client) = (world.actor("web"), world.actor("other"), world.actor("client"));
    let range = Request::ListenRange { address: "0.0.0.0:8001".parse().unwrap(), last_port: 8200 };
    assert_eq!(web.number(&range), 200);
    eventually(TIMEOUT, "a loss for want of room", || {
        let lost = agent.status().lost;
        if lost.get("listeners-map-full").is_some_and(|lost| *lost > 0) {
            Ok(())
        } else {
            Err(format!("{lost:?}"))
        }
    });
    other.serve("0.0.0.0:9000");
    world.finding(&agent, "other", 9000, |finding| finding.code == "undeclared-reachable");
    drop(web);
    eventually(TIMEOUT, "the ports of the pod that ended are closed", || {
        let left = agent
            .listeners()?
            .iter()
            .filter(|item| item.state == "open" && (8001..9000).contains(&item.port))
            .count();
        if left == 0 { Ok(()) } else { Err(format!("{left} are open")) }
    });
    client.connect_many(world.v4("other", 9000), 3);
    let active = world.finding(&agent, "other", 9000, |finding| finding.code == "undeclared-active");
    world.listener(&agent, "other", 9000, |item| item.traffic.connections >= 3);
    assert_eq!(active.listener.expect("a listener").port, 9000);
    world.settles(&agent);
}
