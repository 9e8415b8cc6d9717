//! Exceptions of a configuration file that changes and breaks while the agent runs, and a baseline that covers existing
//! findings.

use std::process::{Command, Output};

use libtest_mimic::Trial;
use portolan_report::wire::Report;

use super::case;
use crate::harness::agent::{Agent, Stdout, binary};
use crate::harness::manifest::write_text;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("exceptions/broken_while_running_keeps_the_last_good", broken_while_running_keeps_the_last_good),
        case("exceptions/a_baseline_covers_what_there_is", a_baseline_covers_what_there_is),
        case("exceptions/a_file_that_is_wrong_at_start_is_wrong_use", wrong_at_start_is_wrong_use),
    ]
}

const RULE: &str = "exceptions:
- name: tier
  reason: the test knows
  match: {namespace: tier, pod: web, port: 7000/TCP}
";

fn broken_while_running_keeps_the_last_good() {
    let world = World::new(&["web:8080"]);
    let config = world.scratch.path("config.yaml");
    write_text(&config, "exceptions: []\n");
    let agent = world.agent_with(&["--config", config.to_str().expect("a path")], Stdout::Read);
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    write_text(&config, RULE);
    let suppressed = world.finding(&agent, "web", 7000, |finding| finding.state == "suppressed");
    let by = suppressed.suppressed_by.expect("a rule");
    assert_eq!((by.rule.as_str(), by.reason.as_str()), ("tier", "the test knows"));

    write_text(&config, "exceptions:\n- name: tier\n  reasn: x\n");
    let reason = source(&agent, "down").expect("a reason");
    assert!(reason.contains("config.yaml:3: unknown key `reasn`: did you mean `reason`?"), "{reason}");
    web.listen("0.0.0.0:7001");
    world.finding(&agent, "web", 7001, |finding| finding.state == "open");
    world.finding(&agent, "web", 7000, |finding| finding.state == "suppressed");

    write_text(&config, "record: all\n");
    source(&agent, "up");
    world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    let diagnostics = agent.diagnostics();
    assert!(diagnostics.contains("taken over at the next start"), "{diagnostics}");
    let mut states: Vec<String> = agent
        .reports()
        .into_iter()
        .filter_map(|report| match report {
            Report::Finding(finding) if finding.port == Some(7000) => Some(finding.state),
            _ => None,
        })
        .collect();
    states.dedup();
    assert_eq!(states, ["open", "suppressed", "open"], "each change is a line");
    agent.assert_lines();
}

/// Waits until the configuration file has this state in the status, and returns the reason.
fn source(agent: &Agent, state: &str) -> Option<String> {
    eventually(TIMEOUT, &format!("the configuration file is {state}"), || {
        let sources = agent.status().sources;
        let found = sources.iter().find(|source| source.name == "config" && source.state == state);
        found.map(|source| source.reason.clone()).ok_or_else(|| format!("{sources:?}"))
    })
}

fn a_baseline_covers_what_there_is() {
    let world = World::new(&["web:8080"]);
    let config = world.scratch.path("config.yaml");
    write_text(&config, "# nothing yet\n");
    let agent = world.agent_with(&["--config", config.to_str().expect("a path")], Stdout::Read);
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    web.listen("127.0.0.1:7001");
    for port in [7000, 7001] {
        world.finding(&agent, "web", port, |finding| finding.state == "open");
    }
    let asked = baseline(&world);
    let text = String::from_utf8(asked.stdout).expect("text");
    assert_eq!(asked.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&asked.stderr));
    write_text(&config, &text);
    for port in [7000, 7001] {
        let finding = world.finding(&agent, "web", port, |finding| finding.state == "suppressed");
        assert_eq!(finding.suppressed_by.map(|by| by.reason).as_deref(), Some("as found"));
    }
}

fn baseline(world: &World) -> Output {
    let socket = format!("unix:{}", world.scratch.path("api.sock").display());
    let arguments = ["baseline", "--reason", "as found", "-n", "tier", "--server", &socket];
    Command::new(binary()).args(arguments).output().expect("run portolan")
}

fn wrong_at_start_is_wrong_use() {
    let world = World::new(&["web:8080"]);
    let config = world.scratch.path("config.yaml");
    write_text(&config, "exceptions:\n- name: all\n  reason: x\n  match: {}\n");
    let arguments = ["agent", "--config", config.to_str().expect("a path")];
    let ended = Command::new(binary()).args(arguments).output().expect("run portolan");
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{words}");
    assert!(words.contains("config.yaml:2: exceptions[0] \"all\": match is empty"), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
}
