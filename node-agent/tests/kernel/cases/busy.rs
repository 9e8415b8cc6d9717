//! What a pod can make the agent spend on scans: a share of a core, whatever it does and in however many namespaces.

use std::time::Duration;

use libtest_mimic::Trial;
use procfs::process::Process;

use super::exclusive;
use crate::harness::agent::Agent;
use crate::harness::script::Script;
use crate::harness::stopwatch::duration_of;
use crate::harness::timeouts::TIMEOUT;
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        exclusive("busy/dual_stack_listeners_in_one_pod", dual_stack_listeners_in_one_pod),
        exclusive("busy/dual_stack_listeners_in_ten_namespaces", dual_stack_listeners_in_ten_namespaces),
    ]
}

/// Openings per second.
const RATE: u32 = 300;
/// Duration of one run.
const SECONDS: u32 = 4;
/// Runs of each kind. The smallest share of each counts: whatever else the machine does only adds to it.
const RUNS: usize = 3;
/// Share of a core that scans on request may take here, beside the cost of the events. The agent's budget is a tenth; other cases
/// run beside this one and make the same work cost more.
const MAX_SHARE: f64 = 0.30;

/// Returns a script that waits, opens and closes listeners at a steady rate, leaves one open and says how many it opened.
fn churn(address: &str, rate: u32) -> String {
    let family = if address.contains(':') { "AF_INET6" } else { "AF_INET" };
    format!(
        "
opened = 0
while True:
    wait()
    begun = time.monotonic()
    for index in range({rate} * {SECONDS}):
        s = socket.socket(socket.{family})
        s.bind(('{address}', 7000 + index % 900))
        s.listen()
        s.close()
        time.sleep(max(0, begun + index / {rate} - time.monotonic()))
    kept = socket.socket(socket.{family})
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(('{address}', 6999))
    kept.listen()
    say({rate} * {SECONDS})"
    )
}

/// CPU time of the agent until now.
fn cpu(agent: &Agent) -> Duration {
    let pid = i32::try_from(agent.pid()).unwrap();
    let stat = Process::new(pid).unwrap().stat().unwrap();
    Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// Runs one script per pod and returns the share of a core that the agent took meanwhile.
fn share(world: &World, agent: &Agent, pods: &[String], address: &str, rate: u32) -> f64 {
    let mut scripts: Vec<Script> =
        pods.iter().map(|pod| Script::start(&world.network.netns(pod), &churn(address, rate))).collect();
    let before = cpu(agent);
    let took = duration_of(|| {
        scripts.iter_mut().for_each(Script::go_on);
        for script in &mut scripts {
            assert_eq!(script.line(), (rate * SECONDS).to_string());
        }
    });
    let share = (cpu(agent) - before).as_secs_f64() / took.as_secs_f64();
    world.settles_within(agent, 3 * TIMEOUT);
    assert_eq!(world.kernel().len(), pods.len(), "each script left a listener");
    drop(scripts);
    world.settles_within(agent, 3 * TIMEOUT);
    share
}

fn compare(pods: &[String], rate: u32) {
    let roles: Vec<&str> = pods.iter().map(String::as_str).collect();
    let world = World::new(&roles);
    let agent = world.agent();
    // The events of the listeners cost the same in both kinds of run. Only dual-stack listeners make the agent scan.
    let (mut events, mut all) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        events = events.min(share(&world, &agent, pods, "0.0.0.0", rate));
        all = all.min(share(&world, &agent, pods, "::", rate));
    }
    println!("events {:.1} %, with scans {:.1} % of a core", events * 100.0, all * 100.0);
    assert!(all - events < MAX_SHARE, "{events} of a core without scans, {all} with them");
    let waiting = agent.status().sources.into_iter().find(|source| source.name == "netns");
    assert_eq!(waiting.expect("a source").state, "up");
}

fn dual_stack_listeners_in_one_pod() {
    compare(&["web".to_owned()], RATE);
}

fn dual_stack_listeners_in_ten_namespaces() {
    let pods: Vec<String> = (0..10).map(|index| format!("web{index}")).collect();
    compare(&pods, RATE);
}
