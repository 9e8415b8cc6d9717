//! Hundreds of network namespaces are created and removed: none is confused with another, and nothing stays behind.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use portolan_report::wire::Report;
use procfs::process::Process;

use super::exclusive;
use crate::actor::protocol::Request;
use crate::harness::agent::Agent;
use crate::harness::network::ip;
use crate::harness::stopwatch::duration_of;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

const AT_ONCE: u16 = 100;
const ROUNDS: u16 = 4;
const FIRST_PORT: u16 = 10_000;

pub fn cases() -> Vec<Trial> {
    vec![exclusive("churn/a_hundred_namespaces_per_second", a_hundred_namespaces_per_second)]
}

/// Returns the number of the agent's descriptors by kind of kernel object.
pub(super) fn held(agent: &Agent) -> BTreeMap<String, usize> {
    let process = Process::new(i32::try_from(agent.pid()).unwrap()).expect("the agent runs");
    let mut held = BTreeMap::new();
    for descriptor in process.fd().expect("its descriptors").flatten() {
        // Client connections come and go.
        let kind = match descriptor.target {
            procfs::process::FDTarget::AnonInode(kind) => kind,
            procfs::process::FDTarget::Net(_) | procfs::process::FDTarget::Other(..) => "netns".to_owned(),
            _ => continue,
        };
        *held.entry(kind).or_default() += 1;
    }
    held
}

/// Returns the round's namespaces, each with an interface whose other end is in the hub.
fn names(world: &World, round: u16) -> Vec<(String, u16)> {
    let ports = (0..AT_ONCE).map(|number| FIRST_PORT + round * AT_ONCE + number);
    ports.map(|port| (world.network.netns(&format!("flash{port}")), port)).collect()
}

fn make(world: &World, names: &[(String, u16)]) {
    let hub = world.network.netns("hub");
    let batch: String = names
        .iter()
        .map(|(name, port)| {
            format!("netns add {name}\nlink add eth0 netns {name} type veth peer name fl{port} netns {hub}\n")
        })
        .collect();
    ip(&[], &batch);
}

fn a_hundred_namespaces_per_second() {
    let mut world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    world.settles(&agent);
    let before = held(&agent);
    let namespaces = agent.status().namespaces;
    let taken = duration_of(|| {
        for round in 0..ROUNDS {
            one_round(&world, &names(&world, round));
        }
    });
    println!("{} namespaces made and removed in {taken:?}", AT_ONCE * ROUNDS);
    // Another netns with the name and, often, the inode of one that is gone.
    let again = world.network.add_bare(&format!("flash{FIRST_PORT}"));
    let actor = world.actor(&format!("flash{FIRST_PORT}"));
    actor.listen("0.0.0.0:9999");
    world.settles_within(&agent, 3 * TIMEOUT);
    nothing_is_mixed_up(&world, &agent, &again);
    drop(actor);
    world.network.remove(&format!("flash{FIRST_PORT}"));
    eventually(6 * TIMEOUT, "nothing stays behind", || {
        let (now, known) = (held(&agent), agent.status().namespaces);
        let links = world.network.links("hub").into_iter().filter(|link| link.starts_with("fl")).count();
        if now == before && known == namespaces && links == 0 {
            return Ok(());
        }
        Err(format!(
            "{known} of {namespaces} namespaces, {links} links, descriptors {now:?}, before {before:?}"
        ))
    });
    world.settles(&agent);
}

/// Creates all namespaces at once. A process listens in each of them; half lose their name while it does.
fn one_round(world: &World, names: &[(String, u16)]) {
    make(world, names);
    let actor = world.actor("web");
    for (name, port) in names {
        actor.order(&Request::EnterNetns { name: name.clone() });
        actor.listen(&format!("0.0.0.0:{port}"));
    }
    let (early, late) = names.split_at(names.len() / 2);
    let delete = |some: &[(String, u16)]| {
        ip(&[], &some.iter().map(|(name, _)| format!("netns delete {name}\n")).collect::<String>());
    };
    delete(early);
    drop(actor);
    delete(late);
}

/// Each port was opened in one namespace only, so a line with another namespace is wrong.
fn nothing_is_mixed_up(world: &World, agent: &Agent, again: &str) {
    let stem = world.network.netns("flash");
    let mut seen = 0;
    for report in agent.reports() {
        let Report::Listener(item) = report else { continue };
        let Some(name) = item.netns.name.filter(|name| name.starts_with(&stem)) else { continue };
        seen += 1;
        let fits = name == format!("{stem}{}", item.port) || (name == again && item.port == 9999);
        assert!(fits, "port {} in {name}", item.port);
    }
    assert!(seen > 0, "no listener of a namespace that existed briefly was reported");
}
