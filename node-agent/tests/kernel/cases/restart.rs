//! What a finding keeps over a restart of the agent, with its state in a directory.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::Trial;
use portolan_report::wire::{Finding, Report, SourceStatus};

use super::case;
use crate::harness::agent::{Agent, Stdout};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("restart/killed_it_keeps_severity_and_first_seen", killed),
        case("restart/told_to_stop_it_keeps_severity_and_first_seen", stopped),
        case("restart/without_a_state_directory_it_begins_anew", without),
        case("restart/a_damaged_file_is_set_aside_and_said_once", damaged),
        case("restart/a_full_disk_is_said_and_counted_and_ends_nothing", full),
        case("restart/a_directory_that_cannot_be_used_ends_nothing", unusable),
    ]
}

fn state(world: &World) -> PathBuf {
    world.scratch.path("state")
}

fn start(world: &World) -> Agent {
    world.agent_with(&["--state-dir", &state(world).display().to_string()], Stdout::Read)
}

/// Waits until the state file knows a finding that another pod called.
fn written(world: &World) {
    eventually(TIMEOUT * 4, "the finding is in the state file", || {
        let text = fs::read_to_string(state(world).join("findings")).map_err(|error| error.to_string())?;
        if text.contains(r#""reach":"pod""#) { Ok(()) } else { Err(text) }
    });
}

fn state_source(agent: &Agent) -> SourceStatus {
    let sources = agent.status().sources;
    let found = sources.iter().find(|source| source.name == "state-file");
    found.cloned().unwrap_or_else(|| panic!("{sources:#?}"))
}

/// Serves and calls a port, and returns its finding.
fn called(world: &World, agent: &Agent) -> Finding {
    world.actor("client").connect_many(world.v4("web", 7000), 2);
    world.finding(agent, "web", 7000, |finding| finding.code == "undeclared-active")
}

fn kept(end: impl FnOnce(&World, Agent)) {
    let world = World::new(&["web:8080", "client"]);
    let web = world.actor("web");
    let socket = web.listen("0.0.0.0:7000");
    let agent = start(&world);
    let before = called(&world, &agent);
    end(&world, agent);
    let agent = start(&world);
    let after = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    assert_eq!((&after.id, &after.first_seen), (&before.id, &before.first_seen));
    assert_eq!((after.traffic.connections, after.traffic.called_earlier.as_deref()), (0, Some("pod")));
    assert!(after.traffic.since > before.traffic.since, "{:?}", after.traffic);
    assert!(after.message.contains("it was called before the agent started"), "{}", after.message);
    let told = agent.wait_report("it is printed as open", |report| match report {
        Report::Finding(item) if item.id == before.id => Some(item.clone()),
        _ => None,
    });
    assert_eq!((told.state.as_str(), told.code.as_str()), ("open", "undeclared-active"));
    assert_eq!(told.first_seen, before.first_seen);
    // What is called now counts from now.
    let again = called(&world, &agent);
    assert_eq!(again.first_seen, before.first_seen);
    world.finding(&agent, "web", 7000, |finding| finding.traffic.connections == 2);
    // A port that closes takes its past along.
    socket.close();
    world.settles(&agent);
    web.listen("0.0.0.0:7000");
    let new = world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    assert_eq!((new.code.as_str(), new.traffic.called_earlier), ("undeclared-reachable", None));
}

fn killed() {
    kept(|world, agent| {
        written(world);
        agent.kill();
    });
}

fn stopped() {
    kept(|_, agent| assert!(agent.stop().success()));
}

fn without() {
    let world = World::new(&["web:8080", "client"]);
    let web = world.actor("web");
    web.serve("0.0.0.0:7000");
    let agent = world.agent();
    called(&world, &agent);
    assert!(agent.stop().success());
    let agent = world.agent();
    let finding = world.finding(&agent, "web", 7000, |_| true);
    assert_eq!(finding.code, "undeclared-reachable");
    assert!(agent.status().sources.iter().all(|source| source.name != "state-file"));
}

fn damaged() {
    let world = World::new(&["web:8080", "client"]);
    let web = world.actor("web");
    web.serve("0.0.0.0:7000");
    let agent = start(&world);
    called(&world, &agent);
    assert!(agent.stop().success());
    let file = state(&world).join("findings");
    let text = fs::read_to_string(&file).expect("a state file");
    fs::write(&file, text.replace(r#""reach":"pod""#, r#""reach":"external""#)).expect("damaged");
    let agent = start(&world);
    let finding = world.finding(&agent, "web", 7000, |_| true);
    assert_eq!(finding.code, "undeclared-reachable", "it is not believed");
    let said = agent.diagnostics();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("the state file")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("its checksum is another") && lines[0].contains("findings.rejected"), "{said}");
    assert_eq!(agent.status().lost["state-file-rejected"], 1);
    assert!(state(&world).join("findings.rejected").is_file());
    called(&world, &agent);
    written(&world);
    assert_eq!((state_source(&agent).state.as_str(), state_source(&agent).reason), ("up", None));
}

/// A file system without room, unmounted when dropped.
struct FullDisk(PathBuf);

impl FullDisk {
    fn mount(at: PathBuf) -> Self {
        fs::create_dir(&at).expect("a directory");
        let options = ["-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(&at).status().expect("mount runs");
        assert!(mounted.success());
        fs::write(at.join("filler"), [0; 4096]).expect("the only page");
        Self(at)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn full() {
    let world = World::new(&["web:8080", "client"]);
    let disk = FullDisk::mount(state(&world));
    let web = world.actor("web");
    web.serve("0.0.0.0:7000");
    let agent = start(&world);
    called(&world, &agent);
    eventually(TIMEOUT * 2, "the failure is counted", || {
        let lost = agent.status().lost;
        if lost.contains_key("state-file-failed") { Ok(()) } else { Err(format!("{lost:?}")) }
    });
    let source = state_source(&agent);
    assert!(source.state == "down" && source.reason.expect("a reason").contains("No space left"));
    fs::remove_file(disk.0.join("filler")).expect("room again");
    written(&world);
    eventually(TIMEOUT, "it is up again", || {
        let source = state_source(&agent);
        if source.state == "up" { Ok(()) } else { Err(format!("{source:?}")) }
    });
    assert_eq!(agent.diagnostics().matches("cannot be used").count(), 1, "{}", agent.diagnostics());
    assert!(agent.stop().success());
}

fn unusable() {
    let world = World::new(&["web:8080", "client"]);
    fs::write(state(&world), "no directory").expect("a file");
    let web = world.actor("web");
    web.serve("0.0.0.0:7000");
    let agent = start(&world);
    called(&world, &agent);
    let source = state_source(&agent);
    assert!(source.state == "down" && source.reason.expect("a reason").contains("cannot be used"));
    assert!(agent.stop().success());
    assert_eq!(fs::read_to_string(state(&world)).expect("untouched"), "no directory");
}
