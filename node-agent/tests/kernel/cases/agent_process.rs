//! The agent as a process: killed, started twice, with a blocked stdout, or without permissions.

use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use portolan_report::wire::Report;
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::case;
use crate::actor::protocol::Request;
use crate::harness::agent::{self, Agent, Stdout, TINY_LISTENER_RING};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("agent/killed_and_restarted_with_nothing_missed", killed_and_restarted),
        case("agent/two_at_once", two_at_once),
        case("agent/stdout_blocked", stdout_blocked),
        case("agent/stdout_closed", stdout_closed),
        case("agent/stdout_on_a_full_disk", stdout_on_a_full_disk),
        case("agent/stops_when_told", stops_when_told),
        case("agent/a_hangup_reads_again_and_ends_nothing", a_hangup_reads_again),
        case("agent/without_cgroup2_exits_4", without_cgroup2_exits_4),
        case("agent/without_capabilities_exits_4", without_capabilities_exits_4),
        case("agent/scan_only_without_sys_admin_exits_4", scan_only_without_sys_admin_exits_4),
        case("agent/scan_without_privileges_says_so", scan_without_privileges_says_so),
        case("agent/out_of_descriptors_nothing_is_taken_for_gone", out_of_descriptors),
        case("agent/kernel_log_is_off_until_asked_for", kernel_log_is_off_until_asked_for),
    ]
}

fn killed_and_restarted() {
    let world = World::new(&["web", "client"]);
    let web = world.actor("web");
    let kept = web.serve("0.0.0.0:7000");
    let closed = web.listen("0.0.0.0:7001");
    let first = world.agent();
    world.settles(&first);
    first.kill();
    // The port closes while the agent is down.
    closed.close();
    web.listen("0.0.0.0:7002");
    let second = world.agent();
    world.settles(&second);
    world.actor("client").connect_many(world.v4("web", 7000), 3);
    world.listener(&second, "web", 7000, |item| item.traffic.connections == 3);
    let _ = kept;
    web.kill();
    world.settles(&second);
}

fn two_at_once() {
    let world = World::new(&["web", "client"]);
    let first = world.agent();
    let second = Agent::start(&world.metadata(), world.scratch.path("second.sock"), &[], Stdout::Read);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    client.connect_many(world.v4("web", 7000), 50);
    for agent in [&first, &second] {
        let seen = world.listener(agent, "web", 7000, |item| item.traffic.connections >= 50);
        assert_eq!(seen.traffic.connections, 50);
        assert!(seen.traffic.packets > 0, "its own classifier counts: {:?}", seen.traffic);
        world.settles(agent);
    }
    assert!(first.stop().success());
    web.listen("0.0.0.0:7001");
    client.connect_many(world.v4("web", 7000), 1);
    world.listener(&second, "web", 7000, |item| item.traffic.connections == 51);
    world.settles(&second);
}

fn stdout_blocked() {
    let world = World::new(&["web"]);
    let agent = world.agent_with(&[], Stdout::Blocked);
    let web = world.actor("web");
    // Far more lines than a pipe and the line queue hold.
    for _ in 0..20 {
        web.order(&Request::ListenOften { address: "0.0.0.0:7000".parse().unwrap(), times: 200 });
    }
    web.listen("0.0.0.0:7001");
    world.settles(&agent);
    agent.stop();
}

fn stdout_closed() {
    let world = World::new(&["web"]);
    let agent = world.agent_with(&[], Stdout::Closed);
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    world.settles(&agent);
    web.listen("0.0.0.0:7001");
    world.settles(&agent);
}

/// Lines that cannot be written are lost and counted; everything else continues.
fn stdout_on_a_full_disk() {
    let world = World::new(&["web"]);
    let agent = world.agent_with(&[], Stdout::Full);
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    world.settles(&agent);
    world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    eventually(TIMEOUT, "the lines that were lost are counted", || {
        let lost = agent.status().lost;
        let lines: u64 = lost.iter().filter(|(reason, _)| reason.starts_with("stdout")).map(|(_, n)| n).sum();
        if lines > 0 { Ok(()) } else { Err(format!("{lost:?}")) }
    });
    assert!(agent.stop().success());
}

fn without_cgroup2_exits_4() {
    let world = World::new(&["web"]);
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", "umount --lazy --all --types cgroup2 && exec \"$@\"", "sh"])
        .arg(agent::binary())
        .args(["agent", "--telemetry", "off", "--api", "off", "--metadata"])
        .arg(format!("file={}", world.metadata().display()))
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("no cgroup2 is mounted"), "{said}");
}

fn stops_when_told() {
    let world = World::new(&["web"]);
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    let agent = world.agent();
    world.settles(&agent);
    let status = agent.stop();
    assert!(status.success(), "{status}");
}

fn a_hangup_reads_again() {
    let world = World::new(&["web"]);
    let agent = Agent::start_as_service(&world.metadata(), world.scratch.path("api.sock"));
    let pid = Pid::from_raw(agent.pid().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, Signal::HUP).expect("signal the agent");
    eventually(TIMEOUT, "it says what it does", || {
        let said = agent.diagnostics();
        if said.contains("SIGHUP: reading the configuration file") { Ok(()) } else { Err(said) }
    });
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    world.settles(&agent);
    let status = agent.stop();
    assert!(status.success(), "{status}");
}

fn without_capabilities_exits_4() {
    let world = World::new(&["web"]);
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-all", "--inh-caps", "-all"])
        .arg(agent::binary())
        .args(["agent", "--telemetry", "off", "--api", "off", "--metadata"])
        .arg(format!("file={}", world.metadata().display()))
        .stdin(Stdio::null())
        .output()
        .expect("setpriv runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("CAP_BPF") || said.contains("CAP_SYS_ADMIN"), "says what is missing: {said}");
}

fn without(capabilities: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new("setpriv")
        .args(["--bounding-set", capabilities, "--inh-caps", capabilities])
        .arg(agent::binary())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("setpriv runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn scan_only_without_sys_admin_exits_4() {
    let (code, _, said) =
        without("-sys_admin", &["agent", "--scan-only", "--telemetry", "off", "--api", "off"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
}

fn scan_without_privileges_says_so() {
    let (code, out, said) = without("-all", &["scan"]);
    assert_eq!((code, out.as_str()), (Some(4), ""), "{said}");
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    let (code, out, said) = without("-sys_ptrace", &["scan"]);
    assert_eq!(code, Some(3), "{out}{said}");
    assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
}

/// Every walk fails; what was known stays known.
fn out_of_descriptors() {
    let world = World::new(&["web"]);
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    let agent = world.agent();
    world.settles(&agent);
    let pid = rustix::process::Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    let limit = |current| {
        let limit = Rlimit { current: Some(current), maximum: Some(4096) };
        prlimit(Some(pid), Resource::Nofile, limit).expect("prlimit").current
    };
    let before = limit(0);
    assert!(before.is_none_or(|files| files > 1024), "the limit is raised at the start: {before:?}");
    agent.wait_report("a walk that failed", |report| match report {
        Report::Loss(loss) if loss.reason == "netns-walk-failed" => Some(()),
        _ => None,
    });
    limit(4096);
    world.settles(&agent);
    let closed = |report: &Report| matches!(report, Report::Listener(listener) if listener.port == 7000 && listener.state == "closed");
    assert!(!agent.reports().iter().any(closed), "what cannot be looked at is not gone");
    eventually(TIMEOUT, "the source is up again", || {
        let status = agent.status();
        let netns = status.sources.iter().find(|source| source.name == "netns").expect("a source");
        if netns.state == "up" { Ok(()) } else { Err(format!("{netns:?}")) }
    });
    assert!(agent.status().lost["netns-walk-failed"] > 0);
}

/// Overflows the ring of listener records, so that the programs write log lines.
fn kernel_log_is_off_until_asked_for() {
    let world = World::new(&["web"]);
    let web = world.actor("web");
    let overflow = |options: &[&str]| {
        let agent = world.agent_with(&[&TINY_LISTENER_RING, options].concat(), Stdout::Read);
        eventually(TIMEOUT, "the ring overflows", || {
            web.order(&Request::ListenOften { address: "0.0.0.0:7001".parse().unwrap(), times: 500 });
            let lost = agent.status().lost.get("listener-ring-full").copied().unwrap_or(0);
            if lost > 0 { Ok(()) } else { Err("nothing lost".into()) }
        });
        agent
    };
    let silent = overflow(&[]);
    let talking = overflow(&["--kernel-log", "warn"]);
    eventually(TIMEOUT, "a line of the kernel programs", || {
        let said = talking.diagnostics();
        if said.contains("kernel: portolan_") && said.contains("listener-ring-full (1 on this CPU so far)") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let said = silent.diagnostics();
    assert!(!said.contains("kernel:"), "{said}");
}
