//! `portolan declare`: its patch, applied by the real kubectl to the pod's manifest, ends the finding.

use std::process::{Command, Output};

use libtest_mimic::Trial;
use portolan_report::wire::Report;

use super::case;
use crate::harness::agent::{Agent, binary};
use crate::harness::daemon::{file, installed};
use crate::harness::manifest;
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![case("declare/the_patch_applied_resolves_the_finding", the_patch_applied_resolves_the_finding)]
}

fn declare(agent: &Agent, target: &str) -> Output {
    let server = format!("unix:{}", agent.socket().display());
    let mut command = Command::new(binary());
    command.args(["declare", target, "--server", &server]);
    command.output().expect("run portolan declare")
}

fn the_patch_applied_resolves_the_finding() {
    let Some([kubectl]) = installed(["kubectl"]) else { return };
    let world = World::new(&["web:8080,53/UDP", "curler"]);
    let agent = world.agent();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:8080");
    web.serve("0.0.0.0:7070");
    web.udp("0.0.0.0:53");
    // Nobody calls this port, so that it stays undeclared.
    web.listen("0.0.0.0:9999");
    curler.connect_many(world.v4("web", 7070), 3);
    let called = world.finding(&agent, "web", 7070, |finding| finding.code == "undeclared-active");
    let quiet = world.finding(&agent, "web", 9999, |finding| finding.state == "open");

    let drafted = declare(&agent, "tier/web");
    let patch = String::from_utf8(drafted.stdout).expect("text");
    assert_eq!(drafted.status.code(), Some(0), "{patch}\n{}", String::from_utf8_lossy(&drafted.stderr));
    let (web_manifest, others): (Vec<_>, Vec<_>) = world.pods.iter().partition(|pod| pod.name == "web");
    let before = file(&world.scratch, "web.yaml", &web_manifest.first().expect("a pod").document());
    let mut apply = Command::new(kubectl);
    apply.args(["patch", "--local", "-o", "yaml", "-f", &before, "--patch-file"]);
    apply.arg(file(&world.scratch, "declare.yaml", &patch));
    let applied = apply.output().expect("kubectl runs");
    let after = String::from_utf8(applied.stdout).expect("text");
    assert!(applied.status.success(), "{patch}\n{}", String::from_utf8_lossy(&applied.stderr));
    let others: Vec<String> = others.iter().map(|pod| pod.document()).collect();
    manifest::write_text(&world.metadata(), &[&[after], others.as_slice()].concat().join("---\n"));

    agent.wait_report("the finding of the called port resolves", |report| match report {
        Report::Finding(item) if item.id == called.id && item.state == "resolved" => Some(()),
        _ => None,
    });
    for (protocol, port, status) in [
        ("TCP", 7070, "declared"),
        ("UDP", 53, "declared"),
        ("TCP", 8080, "declared"),
        ("TCP", 9999, "undeclared"),
    ] {
        world.listener(&agent, "web", port, |item| {
            item.protocol == protocol && item.declaration.status == status
        });
    }
    let open = agent.findings().expect("findings");
    assert!(open.iter().any(|finding| finding.id == quiet.id), "nobody called it: {open:?}");
    assert!(declare(&agent, "tier/web").stdout.is_empty(), "nothing is left to declare");
    world.settles(&agent);
}
