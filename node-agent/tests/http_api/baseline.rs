//! `portolan baseline`: its output, which the agent accepts as exceptions that cover all earlier findings.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use portolan::config::AgentConfig;
use portolan::source::clock;
use portolan_client::exit::Exit;
use portolan_engine::Engine;
use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::{BootTime, NetnsId, PodUid, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{Container, DeclaredPort, Pod, PodSource, Workload};
use portolan_engine::model::socket::{NetnsScan, OpenedSocket};

use crate::commands::run;
use crate::model::Node;
use crate::served::{Scratch, Served};

const NOW: BootTime = BootTime(1_000_000_000);

/// Returns an engine with pods whose ports are undeclared.
fn engine() -> Engine {
    let mut engine = Engine::new(EngineOptions {
        grace: Duration::ZERO,
        stale_grace: Duration::ZERO,
        attribution_hold: Duration::ZERO,
        ..EngineOptions::default()
    });
    for (netns, name) in [(1, "web"), (2, "bare"), (3, "stray")] {
        engine.apply(Input::NetnsSeen { facts: facts(netns, name), at: NOW }, NOW);
    }
    tell_pods(&mut engine, "web-5d4f-a");
    for (netns, port, address) in [
        (1, 8001, "0.0.0.0"),
        (1, 8002, "0.0.0.0"),
        (1, 9090, "127.0.0.1"),
        (2, 53, "0.0.0.0"),
        (3, 22, "::"),
    ] {
        open(&mut engine, netns, port, address);
    }
    engine.apply(Input::NetnsScanned(NetnsScan { netns: NetnsId(2), at: NOW, sockets: Vec::new() }), NOW);
    engine.tick(NOW);
    engine
}

fn open(engine: &mut Engine, netns: u64, port: u16, address: &str) {
    let protocol = if port == 53 { Protocol::Udp } else { Protocol::Tcp };
    let number = NonZeroU16::new(port).expect("a port");
    let socket = OpenedSocket {
        cookie: SocketCookie(netns * 100_000 + u64::from(port)),
        port: PortId { netns: NetnsId(netns), protocol, port: number },
        address: address.parse().expect("an address"),
        v6_only: None,
        on_loopback: false,
        process: None,
        at: BootTime(NOW.0 + 1),
    };
    engine.apply(Input::SocketOpened(socket), BootTime(NOW.0 + 1));
}

fn facts(netns: u64, name: &str) -> NetnsFacts {
    NetnsFacts {
        netns: NetnsId(netns),
        inode: netns,
        paths: vec![format!("/run/netns/{name}")],
        is_host: false,
        addresses: vec![format!("10.1.0.{netns}/24").parse().expect("an address")],
        has_guest: false,
        ephemeral_ports: (32_768, 60_999),
    }
}

fn tell_pods(engine: &mut Engine, web: &str) {
    let pod = |netns: &str, name: &str, workload: Option<&str>| Pod {
        uid: PodUid(format!("uid-{name}")),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        workload: workload.map(|name| Workload { kind: "Deployment".to_owned(), name: name.to_owned() }),
        netns_path: Some(format!("/run/netns/{netns}")),
        ..Pod::default()
    };
    let mut bare = pod("bare", "bare", None);
    let port = NonZeroU16::new(8443).expect("a port");
    bare.containers.push(Container {
        name: "main".to_owned(),
        ports: vec![DeclaredPort { name: None, port, protocol: Protocol::Tcp, host_port: None }],
        ..Container::default()
    });
    engine
        .apply(Input::Pods { source: PodSource::File, pods: vec![pod("web", web, Some("web")), bare] }, NOW);
}

async fn served(engine: &Engine) -> Served {
    Served::start(Node { findings: engine.findings().collect(), ..Node::default() }).await
}

const PRINTED: &str = r#"exceptions:
- name: "baseline/shop/Deployment/web/undeclared-reachable"
  reason: "known"
  expires: "2999-01-31"
  match:
    namespace: "shop"
    workload: {kind: "Deployment", name: "web"}
    port: [8001-8002/TCP]
    code: [undeclared-reachable, undeclared-blocked, undeclared-explained, undeclared-loopback]
- name: "baseline/shop/Deployment/web/undeclared-loopback"
  reason: "known"
  expires: "2999-01-31"
  match:
    namespace: "shop"
    workload: {kind: "Deployment", name: "web"}
    port: [9090/TCP]
    code: [undeclared-loopback]
- name: "baseline/shop/Pod/bare/undeclared-reachable"
  reason: "known"
  expires: "2999-01-31"
  match:
    namespace: "shop"
    pod: "bare"
    port: [53/UDP]
    code: [undeclared-reachable, undeclared-blocked, undeclared-explained, undeclared-loopback]
- name: "baseline/shop/Pod/bare/stale-declaration"
  reason: "known"
  expires: "2999-01-31"
  match:
    namespace: "shop"
    pod: "bare"
    port: [8443/TCP]
    code: [stale-declaration]
"#;

#[tokio::test]
async fn what_is_printed_is_taken_by_the_agent_and_covers_everything_also_under_new_names() {
    let mut engine = engine();
    let served = served(&engine).await;
    let outcome =
        run(&format!("baseline --reason known --expires 2999-01-31 --server {}", served.url())).await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Fine, PRINTED), "{}", outcome.words);
    assert!(outcome.words.starts_with("5 open findings as 4 exceptions. Read them"), "{}", outcome.words);
    assert!(outcome.words.contains("2 of them name a single pod"), "{}", outcome.words);
    assert!(outcome.words.contains("1 finding of no known pod left out"), "{}", outcome.words);

    let scratch = Scratch::new("baseline");
    let path = scratch.0.join("config.yaml");
    std::fs::write(&path, &outcome.out).expect("write");
    let (rules, _) = AgentConfig::exceptions_of(&path).expect("the agent takes it");
    let rules = rules.iter().map(|rule| Arc::new(rule.rule(clock::to_boot))).collect();
    engine.apply(Input::Exceptions(rules), NOW);
    let open = |engine: &Engine| -> Vec<String> {
        let open = engine.findings().filter(|finding| finding.state == FindingState::Open);
        open.map(|finding| finding.code.as_str().to_owned()).collect()
    };
    assert_eq!(open(&engine), ["unattributed"]);
    tell_pods(&mut engine, "web-5d4f-b");
    engine.tick(BootTime(NOW.0 + 2));
    assert_eq!(open(&engine), ["unattributed"], "the pod was made anew");
    open_more(&mut engine);
    assert_eq!(open(&engine).len(), 2, "a port that was not there is not covered");
}

fn open_more(engine: &mut Engine) {
    open(engine, 1, 8003, "0.0.0.0");
    engine.tick(BootTime(NOW.0 + 3));
}

#[tokio::test]
async fn suppressed_findings_are_listed_with_their_rule_and_make_nothing_fail() {
    let mut engine = engine();
    let (rules, _) = {
        let scratch = Scratch::new("suppressed");
        let path = scratch.0.join("config.yaml");
        std::fs::write(&path, PRINTED).expect("write");
        AgentConfig::exceptions_of(&path).expect("valid")
    };
    engine.apply(
        Input::Exceptions(rules.iter().map(|rule| Arc::new(rule.rule(clock::to_boot))).collect()),
        NOW,
    );
    let served = served(&engine).await;
    let list = |options: &'static str| {
        let line = format!("findings --server {} {options}", served.url());
        async move { run(&line).await }
    };
    assert_eq!(list("-o name --fail-on low").await.exit, Exit::Fine);
    let suppressed = list("--state suppressed -o json --fail-on info").await;
    assert_eq!(suppressed.exit, Exit::Fine);
    let json: serde_json::Value = serde_json::from_str(&suppressed.out).expect("json");
    let items = json["items"].as_array().expect("a list");
    assert_eq!(items.len(), 5);
    assert!(
        items.iter().all(|item| item["state"] == "suppressed" && item["suppressedBy"]["reason"] == "known")
    );
    let again = run(&format!("baseline --reason x --server {}", served.url())).await;
    assert_eq!((again.exit, again.out.as_str()), (Exit::Fine, "exceptions: []\n"));
    assert!(again.words.starts_with("No open finding"), "{}", again.words);
}

#[tokio::test]
async fn a_wrong_option_and_an_answer_that_is_not_whole_are_said() {
    let served = Served::start(Node::default()).await;
    for (options, then) in [
        ("--reason=", "--reason is missing: say why"),
        ("--reason known --expires soon", "--expires: \"soon\" is not valid: expected a day such as"),
        (
            "--reason known --expires 2020-02-29",
            "--expires: \"2020-02-29\" is over: such rules would suppress",
        ),
    ] {
        let outcome = run(&format!("baseline {options} --server {}", served.url())).await;
        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::WrongUse, ""), "{outcome:?}");
        assert!(outcome.words.starts_with(then), "{outcome:?}");
    }
    served.health.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    let outcome = run(&format!("baseline --reason known --server {}", served.url())).await;
    assert_eq!(outcome.exit, Exit::Partial);
    assert!(outcome.out.starts_with("exceptions:\n") && outcome.words.contains("partial"), "{outcome:?}");
}
