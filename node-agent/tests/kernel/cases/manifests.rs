//! Manifests that change or break while the agent runs.

use libtest_mimic::Trial;
use portolan_report::wire::Report;

use super::case;
use crate::harness::manifest;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("manifests/a_declaration_added_resolves_the_finding", a_declaration_added_resolves_the_finding),
        case("manifests/broken_while_running_keeps_the_last_good", broken_while_running_keeps_the_last_good),
    ]
}

fn a_declaration_added_resolves_the_finding() {
    let mut world = World::new(&["web:8080"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    let finding = world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    world.declare("web", &["8080", "7000"]);
    agent.wait_report("the finding resolves", |report| match report {
        Report::Finding(item) if item.id == finding.id && item.state == "resolved" => Some(()),
        _ => None,
    });
    world.listener(&agent, "web", 7000, |item| item.declaration.status == "declared");
    world.declare("web", &["8080"]);
    world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    world.settles(&agent);
}

fn broken_while_running_keeps_the_last_good() {
    let mut world = World::new(&["web:8080"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:8080");
    world.listener(&agent, "web", 8080, |item| item.declaration.status == "declared");
    manifest::write_text(&world.metadata(), "kind: Pod\nmetadata: [broken\n");
    let file_source = |state: &'static str| {
        eventually(TIMEOUT, &format!("the manifest source is {state}"), || {
            let sources = agent.status().sources;
            let found = sources.iter().find(|source| source.name.starts_with("file"));
            match found {
                Some(source) if source.state == state => Ok(source.clone()),
                _ => Err(format!("{sources:?}")),
            }
        })
    };
    assert!(file_source("down").reason.is_some_and(|reason| reason.contains("pods.yaml")));
    assert_eq!(world.listener(&agent, "web", 8080, |_| true).declaration.status, "declared");
    world.declare("web", &["9090"]);
    file_source("up");
    world.listener(&agent, "web", 8080, |item| item.declaration.status == "undeclared");
    world.settles(&agent);
}
