//! The end on a node with many interfaces: the kernel detaches the programs after the agent has ended, and an agent that
//! follows at once is not disturbed.

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::Trial;
use procfs::process::{FDTarget, Process};

use super::exclusive;
use crate::harness::agent::Agent;
use crate::harness::leaks::programs;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

/// Number of namespaces with two interfaces each.
const NAMESPACES: usize = 40;

pub fn cases() -> Vec<Trial> {
    vec![
        exclusive("end/told_to_stop_it_leaves_nothing_attached_and_a_successor_attaches_all", || {
            ended(|agent| assert!(agent.stop().success()));
        }),
        exclusive("end/killed_it_leaves_nothing_attached_and_a_successor_attaches_all", || {
            ended(Agent::kill)
        }),
    ]
}

fn ended(end: impl FnOnce(Agent)) {
    let mut world = World::new(&["web", "client"]);
    world.network.add_crowd(NAMESPACES);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    let first = world.agent();
    let attached = linked_programs(&first);
    assert!(attached.len() >= 2 * NAMESPACES, "{attached:?}");
    end(first);
    // Most of the programs of the first agent are still attached now.
    let second = world.agent();
    let hooks = second.status().hooks;
    assert!(hooks.iter().all(|hook| hook.state == "attached"), "{hooks:?}");
    client.connect_many(world.v4("web", 7000), 3);
    let seen = world.listener(&second, "web", 7000, |item| item.traffic.connections >= 3);
    assert_eq!(seen.traffic.connections, 3);
    eventually(2 * TIMEOUT, "no program of the first agent is left", || {
        let left = programs().map(|all| all.intersection(&attached).count());
        if left.unwrap_or_default() == 0 { Ok(()) } else { Err(format!("{left:?} are left")) }
    });
    client.connect_many(world.v4("web", 7000), 2);
    let seen = world.listener(&second, "web", 7000, |item| item.traffic.connections >= 5);
    assert!(seen.traffic.packets > 0 && seen.traffic.connections == 5, "{:?}", seen.traffic);
    let lost = second.status().lost.get("handover-failed").copied().unwrap_or_default();
    assert_eq!(lost, 0, "the programs of the first agent hand nothing to the second");
    world.settles(&second);
}

/// Returns the ids of the programs that the agent holds by a link.
fn linked_programs(agent: &Agent) -> BTreeSet<u64> {
    let process = Process::new(agent.pid().cast_signed()).expect("the agent runs");
    let links =
        process.fd().expect("its descriptors").flatten().filter(
            |descriptor| matches!(&descriptor.target, FDTarget::AnonInode(kind) if kind == "bpf_link"),
        );
    let program = |descriptor: procfs::process::FDInfo| {
        let told = fs::read_to_string(format!("/proc/{}/fdinfo/{}", agent.pid(), descriptor.fd)).ok()?;
        told.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    links.filter_map(program).collect()
}
