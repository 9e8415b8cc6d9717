//! Pods that come, go and come again, and a runtime that does the same.

use libtest_mimic::Trial;
use portolan_report::wire::Report;

use super::case;
use crate::harness::containerd::Node;
use crate::harness::pod::Wanted;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::{agent, finding, listener, unready_agent, wait_source};

pub fn cases() -> Vec<Trial> {
    vec![
        case("lifetime/a_pod_made_again_under_the_same_name", made_again),
        case("lifetime/the_runtime_is_restarted", runtime_restarted),
        case("lifetime/the_runtime_comes_after_the_agent", runtime_comes_late),
        case("lifetime/a_container_that_ended_and_its_next_attempt", next_attempt),
    ]
}

const PORTS: &str = r#"[{"containerPort":8080}]"#;
const SCRIPT: &str = "httpd -p 8080; httpd -p 9090; sleep 1000";

fn made_again() {
    let agent = agent();
    let first = Wanted::pod("web").run();
    first.container("app", PORTS, SCRIPT);
    let old = finding(&agent, &first, 9090, "undeclared-reachable");
    let old_uid = first.uid.clone();
    drop(first);
    agent.wait_report("its finding resolves", |report| match report {
        Report::Finding(item) if item.id == old.id && item.state == "resolved" => Some(()),
        _ => None,
    });
    let second = Wanted::pod("web").run();
    second.container("app", PORTS, SCRIPT);
    let new = finding(&agent, &second, 9090, "undeclared-reachable");
    assert_ne!(new.id, old.id);
    assert_ne!(second.uid, old_uid);
    let mixed = agent
        .reports()
        .into_iter()
        .skip_while(|report| !matches!(report, Report::Finding(item) if item.id == new.id));
    let of_old = |report: &Report| matches!(report, Report::Listener(item) if item.pod.as_ref().is_some_and(|pod| pod.uid == old_uid));
    assert!(
        !mixed.into_iter().any(|report| of_old(&report)),
        "nothing of the new pod is said of the old one"
    );
}

fn runtime_restarted() {
    let pod = Wanted::pod("steady").run();
    pod.container("app", PORTS, "httpd -p 8080; sleep 3; httpd -p 9090; sleep 1000");
    let agent = agent();
    let before = listener(&agent, &pod, 8080, |item| item.container.is_some());
    Node::with(Node::kill);
    let reason = wait_source(&agent, "down").expect("a reason");
    assert!(reason.contains("containerd.sock") || reason.contains("List"), "{reason}");
    // What is known of the pod stays, and new sockets are still assigned to it.
    finding(&agent, &pod, 9090, "undeclared-reachable");
    Node::with(Node::start);
    wait_source(&agent, "up");
    let later = Wanted::pod("later").run();
    later.container("app", PORTS, "httpd -p 8080; sleep 1000");
    listener(&agent, &later, 8080, |item| item.container.is_some());
    let closed = |report: &Report| matches!(report, Report::Listener(item) if item.id == before.id && item.state == "closed");
    assert!(!agent.reports().iter().any(closed), "the restart is not the pod's business");
}

fn runtime_comes_late() {
    let pod = Wanted::pod("patient").run();
    pod.container("app", PORTS, SCRIPT);
    Node::with(Node::kill);
    let mut agent = unready_agent();
    eventually(TIMEOUT * 6, "the agent answers", || agent.listeners().map(drop));
    // The agent's only source of pods is down: the status reports it, and the agent is not ready.
    let reason = wait_source(&agent, "down").expect("a reason");
    assert!(reason.contains("cannot connect to"), "{reason}");
    Node::with(Node::start);
    wait_source(&agent, "up");
    agent.wait_ready();
    assert_eq!(listener(&agent, &pod, 8080, |_| true).declaration.status, "declared");
    finding(&agent, &pod, 9090, "undeclared-reachable");
}

fn next_attempt() {
    let agent = agent();
    let pod = Wanted::pod("crasher").run();
    pod.container("init", r#"[{"containerPort":9999}]"#, "true");
    let id = pod.container("app", PORTS, "httpd -p 8080; sleep 1000");
    let seen = listener(&agent, &pod, 8080, |item| item.container.is_some());
    assert_eq!(seen.container.map(|container| container.id), Some(id));
}
