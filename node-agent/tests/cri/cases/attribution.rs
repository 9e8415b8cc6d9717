//! Which pod, container and process a socket belongs to, and whether its port is declared, by the runtime's
//! information.

use libtest_mimic::Trial;

use super::case;
use crate::harness::image;
use crate::harness::pod::Wanted;
use crate::harness::world::{agent, finding, listener};

pub fn cases() -> Vec<Trial> {
    vec![
        case("attribution/declared_and_undeclared_ports_of_a_pod", declared_and_undeclared),
        case("attribution/udp_is_not_tcp", udp_is_not_tcp),
        case("attribution/two_containers_share_a_pod", two_containers),
        case("attribution/a_static_pod_by_its_hash", static_pod),
        case("attribution/a_host_network_pod_by_its_cgroup", host_network),
        case("attribution/a_debug_container_of_a_running_pod", debug_container),
        case("attribution/annotations_that_cannot_be_read", hostile_annotations),
        case("attribution/a_caller_is_named", caller_is_named),
    ]
}

const WEB: &str = r#"[{"name":"http","containerPort":8080,"protocol":"TCP"}]"#;

fn declared_and_undeclared() {
    let web = Wanted::pod("web-5d4f8c9b7-x2x4z").label("pod-template-hash", "5d4f8c9b7").run();
    let app = web.container("app", WEB, "httpd -p 8080; httpd -p 9090; sleep 1000");
    let agent = agent();
    let declared = listener(&agent, &web, 8080, |item| item.process.is_some());
    assert_eq!(declared.declaration.status, "declared");
    assert_eq!(declared.declaration.declared_by, ["container/app"]);
    assert_eq!(declared.process.as_ref().map(|process| process.name.as_str()), Some("httpd"));
    let container = declared.container.expect("a container");
    assert_eq!((container.name.as_str(), container.id.as_str()), ("app", app.as_str()));
    assert_eq!(container.image, image::BOX);
    let pod = declared.pod.expect("a pod");
    let workload = pod.workload.expect("a workload");
    assert_eq!((workload.kind.as_str(), workload.name.as_str()), ("Deployment", "web"));
    assert!(declared.netns.name.is_some_and(|name| name.starts_with("cni-")));
    let found = finding(&agent, &web, 9090, "undeclared-reachable");
    assert_eq!(found.container.map(|container| container.id), Some(app));
    assert!(!found.message.is_empty());
    // A second container of the running pod declares the port of an existing finding.
    web.container("late", r#"[{"containerPort":9090}]"#, "sleep 1000");
    agent.wait_report("the finding resolves", |report| match report {
        portolan_report::wire::Report::Finding(item) if item.id == found.id && item.state == "resolved" => {
            Some(())
        }
        _ => None,
    });
}

fn udp_is_not_tcp() {
    let dns = Wanted::pod("dns").run();
    dns.container("dns", r#"[{"containerPort":5300,"protocol":"UDP"}]"#, "httpd -p 5300; sleep 1000");
    let agent = agent();
    finding(&agent, &dns, 5300, "undeclared-reachable");
}

fn two_containers() {
    let agent = agent();
    let pod = Wanted::pod("pair").run();
    let app = pod.container("app", WEB, "httpd -p 8080; httpd -p 9001; sleep 1000");
    let proxy =
        pod.container("proxy", r#"[{"containerPort":15090}]"#, "httpd -p 15090; httpd -p 9002; sleep 1000");
    for (port, container) in [(8080, &app), (9001, &app), (15090, &proxy), (9002, &proxy)] {
        let seen = listener(&agent, &pod, port, |item| {
            item.container.as_ref().is_some_and(|seen| seen.id == *container)
        });
        let declared = if port > 9002 || port == 8080 { "declared" } else { "undeclared" };
        assert_eq!(seen.declaration.status, declared, "{port}");
    }
    assert_eq!(finding(&agent, &pod, 9001, "undeclared-reachable").container.unwrap().name, "app");
    assert_eq!(finding(&agent, &pod, 9002, "undeclared-reachable").container.unwrap().name, "proxy");
}

fn static_pod() {
    let pod = Wanted::static_pod("etcd-node").run();
    pod.container("etcd", r#"[{"containerPort":2379}]"#, "httpd -p 2379; httpd -p 2381; sleep 1000");
    let agent = agent();
    assert_eq!(pod.uid.len(), 32);
    assert_eq!(listener(&agent, &pod, 2379, |_| true).declaration.status, "declared");
    finding(&agent, &pod, 2381, "undeclared-reachable");
}

fn host_network() {
    let agent = agent();
    let pod = Wanted::pod("node-exporter").host_network().run();
    let ports = r#"[{"hostPort":28471,"containerPort":28471}]"#;
    let id = pod.container("exporter", ports, "httpd -p 28471; httpd -p 28472; sleep 1000");
    // A daemon of the node belongs to no pod.
    let daemon = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let declared = listener(&agent, &pod, 28471, |item| item.container.is_some());
    assert_eq!(declared.declaration.status, "declared");
    assert!(declared.pod.is_some_and(|pod| pod.host_network));
    let found = finding(&agent, &pod, 28472, "undeclared-host");
    assert_eq!(found.container.map(|container| container.id), Some(id));
    let port = daemon.local_addr().unwrap().port();
    let said = agent.listeners().unwrap().into_iter().any(|item| item.port == port && item.pod.is_some());
    assert!(!said, "the node's own listener is no pod's");
}

fn debug_container() {
    let pod = Wanted::pod("patient").run();
    pod.container("app", WEB, "httpd -p 8080; sleep 1000");
    let agent = agent();
    listener(&agent, &pod, 8080, |item| item.container.is_some());
    let id = pod.container("debugger-7xk2p", "", "httpd -p 4444; sleep 1000");
    let seen = listener(&agent, &pod, 4444, |item| {
        item.container.as_ref().is_some_and(|container| container.name == "debugger-7xk2p")
    });
    assert_eq!(seen.container.map(|container| container.id), Some(id));
    assert_eq!(seen.declaration.status, "undeclared");
}

fn hostile_annotations() {
    let agent = agent();
    let pod = Wanted::pod("odd").run();
    let ports = r#"[{"containerPort":70000},{"containerPort":"x"},{"containerPort":8080},null]"#;
    pod.container("app", ports, "httpd -p 8080; sleep 1000");
    pod.container("broken", "[{\"containerPort\":80", "httpd -p 80; sleep 1000");
    assert_eq!(listener(&agent, &pod, 8080, |_| true).declaration.status, "declared");
    finding(&agent, &pod, 80, "undeclared-reachable");
    assert_eq!(agent.status().lost.get("cri-unreadable-metadata"), Some(&4));
}

fn caller_is_named() {
    let agent = agent();
    let web = Wanted::pod("web").run();
    web.container("app", WEB, "httpd -p 9090; sleep 1000");
    let quiet = finding(&agent, &web, 9090, "undeclared-reachable");
    assert!(quiet.traffic.peers.is_empty());
    let address = crate::harness::pod::address(&web);
    let curler = Wanted::pod("curler").run();
    let script = format!("while sleep 0.2; do wget -q -O- http://{address}:9090/; done");
    curler.container("curl", "", &script);
    let active = finding(&agent, &web, 9090, "undeclared-active");
    assert_eq!(active.severity, "high");
    agent.wait_report("the caller is named", |report| match report {
        portolan_report::wire::Report::Finding(item) if item.id == active.id => {
            let peer = item.traffic.peers.first()?;
            assert_eq!(peer.origin, "pod");
            (peer.reference.as_deref() == Some("shop/curler")).then_some(())
        }
        _ => None,
    });
}
