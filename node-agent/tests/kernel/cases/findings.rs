//! The finding codes, as the facts arrive one after another.

use std::time::Duration;

use libtest_mimic::Trial;
use portolan::source::clock;
use portolan_report::wire::{Finding, Report};

use super::case;
use crate::actor::protocol::Request;
use crate::harness::agent::Stdout;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("findings/reachable_then_active_then_external_then_resolved", rises_and_resolves),
        case("findings/short_but_called", short_but_called),
        case("findings/declared_is_no_finding", declared_is_no_finding),
        case("findings/stale_declaration_until_it_listens", stale_declaration_until_it_listens),
        case("findings/port_storm_is_one_finding", port_storm_is_one_finding),
        case("findings/unattributed_where_no_pod_is_known", unattributed_where_no_pod_is_known),
    ]
}

fn rises_and_resolves() {
    let world = World::new(&["web:8080", "client", "outside"]);
    let agent = world.agent();
    let (web, client, outside) = (world.actor("web"), world.actor("client"), world.actor("outside"));
    let socket = web.serve("0.0.0.0:7000");
    let first = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-reachable");
    assert_eq!((first.state.as_str(), first.severity.as_str()), ("open", "medium"));
    client.connect_many(world.v4("web", 7000), 1);
    let second = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    outside.connect_many(world.v4("web", 7000), 1);
    let third = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-external");
    assert!(first.id == second.id && second.id == third.id, "one finding all along");
    web.kill();
    let _ = socket;
    agent.wait_report("the finding resolves", |report| match report {
        Report::Finding(item) if item.id == first.id && item.state == "resolved" => Some(()),
        _ => None,
    });
    world.settles(&agent);
}

/// A server that answers 31 calls in two seconds and is gone long before the grace time is over.
fn short_but_called() {
    let world = World::new(&["web:8080", "client"]);
    let agent = world.agent_with(&["--grace=60s"], Stdout::Read);
    let (web, client) = (world.actor("web"), world.actor("client"));
    let begin = clock::now();
    web.serve("0.0.0.0:7000");
    client.connect_many(world.v4("web", 7000), 31);
    eventually(TIMEOUT, "two seconds", || {
        if clock::now() > begin.after(Duration::from_secs(2)) { Ok(()) } else { Err("not yet".into()) }
    });
    web.kill();
    let of_port = |item: &Finding| item.listener.as_ref().is_some_and(|listener| listener.port == 7000);
    let resolved = agent.wait_report("the finding resolves", |report| match report {
        Report::Finding(item) if of_port(item) && item.state == "resolved" => Some(item.clone()),
        _ => None,
    });
    assert_eq!((resolved.code.as_str(), resolved.severity.as_str()), ("undeclared-active", "high"));
    assert_eq!(resolved.traffic.connections, 31);
    let was_open =
        |report: &Report| matches!(report, Report::Finding(item) if of_port(item) && item.state == "open");
    assert!(agent.reports().iter().any(was_open), "open before it resolves");
    world.settles(&agent);
}

fn declared_is_no_finding() {
    let world = World::new(&["web:8080", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:8080");
    web.serve("0.0.0.0:9090");
    client.connect_many(world.v4("web", 8080), 1);
    client.connect_many(world.v4("web", 9090), 1);
    world.finding(&agent, "web", 9090, |finding| finding.code == "undeclared-active");
    let findings = world.findings_of(&agent, "web").unwrap();
    assert!(
        findings.iter().all(|item| item.listener.as_ref().is_none_or(|of| of.port != 8080)),
        "{findings:#?}"
    );
    world.settles(&agent);
}

fn stale_declaration_until_it_listens() {
    let world = World::new(&["web:8080,9090"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:8080");
    let stale = world.finding(&agent, "web", 0, |finding| finding.code == "stale-declaration");
    assert_eq!(stale.severity, "info");
    assert!(stale.message.contains("9090"), "{}", stale.message);
    web.listen("0.0.0.0:9090");
    agent.wait_report("it resolves", |report| match report {
        Report::Finding(item) if item.id == stale.id && item.state == "resolved" => Some(()),
        _ => None,
    });
    world.settles(&agent);
}

fn port_storm_is_one_finding() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let range = Request::ListenRange { address: "0.0.0.0:10000".parse().unwrap(), last_port: 10_299 };
    assert_eq!(web.number(&range), 300);
    let storm = world.finding(&agent, "web", 0, |finding| finding.code == "port-storm");
    assert_eq!((storm.state.as_str(), storm.severity.as_str()), ("open", "high"));
    world.settles(&agent);
    let open =
        world.findings_of(&agent, "web").unwrap().into_iter().filter(|item| item.state == "open").count();
    assert!(open <= 150, "{open} open findings are a storm of their own");
    web.kill();
    agent.wait_report("the storm resolves", |report| match report {
        Report::Finding(item) if item.id == storm.id && item.state == "resolved" => Some(()),
        _ => None,
    });
    world.settles(&agent);
}

fn unattributed_where_no_pod_is_known() {
    let mut world = World::new(&["web:8080"]);
    let agent = world.agent();
    world.network.add_bare("stray");
    let stray = world.actor("stray");
    stray.listen("0.0.0.0:7000");
    let finding = world.finding(&agent, "stray", 7000, |finding| finding.code == "unattributed");
    assert!(finding.pod.is_none());
    world.settles(&agent);
}
