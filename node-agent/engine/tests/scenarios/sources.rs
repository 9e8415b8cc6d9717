//! One pod from several sources: whichever reports first or fails, the verdict is right and becomes more exact.

use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::DeclarationStatus;
use portolan_engine::model::pod::ContainerKind::{Ephemeral, Init, Regular, Sidecar};
use portolan_engine::model::pod::{Container, Pod, Workload};

use crate::objects::{number, sends, service, services};
use crate::world::{APP, CURLER, PodBuilder, World, cgroup, gone, ip, netns, opened, pod, pods, told};

/// A pod as the runtime sees it: no container kinds, ports from kubelet's annotation, the initial labels.
fn by_runtime() -> PodBuilder {
    let pod = pod("app").uid("aa-bb").at("app").label("app", "old").address("10.1.0.2");
    let pod = pod.container("app", Regular, &[(8080, Tcp)]).running(true);
    pod.container("debugger", Regular, &[]).running(true)
}

/// A pod as the API server sees it: container kinds, present labels, no netns.
fn by_server() -> Pod {
    let pod = pod("app").uid("aa-bb").label("app", "web").address("fd00::2").ready(true);
    let pod = pod.container("app", Regular, &[(8080, Tcp)]).container("setup", Init, &[(7070, Tcp)]);
    let mut pod: Pod = pod.container("debugger", Ephemeral, &[]).into();
    for container in &mut pod.containers {
        container.id.clear();
    }
    pod.workload = Some(Workload { kind: "Deployment".to_owned(), name: "app".to_owned() });
    pod
}

fn world() -> World {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    world
}

#[test]
fn undeclared_is_right_with_the_runtime_alone_and_more_exact_with_the_api_server() {
    let mut world = world();
    world.apply(told("cri", by_runtime()));
    world.listen(APP, 10, 8080).listen_in(&cgroup("aa-bb", "debugger"), APP, 11, 9090).wait(6_000);
    world.check(&["undeclared-reachable 9090/TCP"]);
    world.apply(told("kubernetes", by_server())).check(&["ephemeral-container 9090/TCP"]);
    world.apply(gone("kubernetes", "aa-bb")).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn every_field_comes_from_whoever_knows_it_whatever_the_order() {
    let inputs = [told("cri", by_runtime()), told("kubernetes", by_server())];
    for order in [[0, 1], [1, 0]] {
        let mut world = world();
        for index in order {
            world.apply(inputs[index].clone());
        }
        let pod = world.engine.pod("demo", "app").expect("the pod");
        assert_eq!(pod.netns_path.as_deref(), Some("/run/netns/app"));
        assert_eq!(pod.labels.get("app").map(String::as_str), Some("web"));
        assert_eq!(pod.ready, Some(true));
        assert_eq!(pod.addresses, [ip("10.1.0.2"), ip("fd00::2")]);
        assert_eq!(pod.workload.as_ref().map(|workload| workload.kind.as_str()), Some("Deployment"));
        let container = |c: &Container| (c.name.clone(), c.kind, c.id.is_empty(), c.running, c.ports.len());
        let containers: Vec<_> = pod.containers.iter().map(container).collect();
        assert_eq!(
            containers,
            [
                ("app".to_owned(), Regular, false, Some(true), 1),
                ("setup".to_owned(), Init, true, None, 1),
                ("debugger".to_owned(), Ephemeral, false, Some(true), 0),
            ]
        );
    }
}

#[test]
fn a_file_is_the_weakest_and_fills_gaps_only() {
    let by_file = || pod("app").uid("aa-bb").at("elsewhere").container("app", Regular, &[(9090, Tcp)]);
    let mut world = world();
    world
        .apply(told("file", by_file()))
        .apply(told("cri", by_runtime()))
        .apply(told("kubernetes", by_server()));
    world.listen(APP, 10, 9090).wait(6_000).check(&["undeclared-reachable 9090/TCP"]);
    world.apply(gone("kubernetes", "aa-bb")).apply(gone("cri", "aa-bb"));
    let pod = world.engine.pod("demo", "app").expect("the pod");
    assert_eq!(pod.netns_path.as_deref(), Some("/run/netns/elsewhere"));
}

#[test]
fn a_pod_is_gone_when_the_last_source_says_so() {
    let mut world = world();
    world.apply(told("cri", by_runtime())).apply(told("kubernetes", by_server())).listen(APP, 10, 9090);
    world.wait(6_000).apply(gone("cri", "aa-bb"));
    assert_eq!(
        world.findings().len(),
        1,
        "the API server still has it, and its netns is remembered by nobody"
    );
    world.apply(gone("kubernetes", "aa-bb")).check(&[]);
}

#[test]
fn a_static_pod_and_its_mirror_are_one() {
    let hash = "0123456789abcdef0123456789abcdef";
    let mut world = world();
    let runtime = pod("etcd").uid(hash).at("app").container("etcd", Regular, &[(2379, Tcp)]);
    let server = || {
        pod("etcd").uid(hash).mirror("api-uid").label("app", "etcd").container(
            "etcd",
            Regular,
            &[(2379, Tcp)],
        )
    };
    world.apply(told("cri", runtime)).apply(told("kubernetes", server()));
    world.apply(services(vec![sends(service("etcd", "etcd"), 80, Tcp, number(2381))]));
    world.listen(APP, 10, 2379).listen(APP, 11, 2381).wait(6_000);
    world.check(&["undeclared-explained 2381/TCP"]);
    assert_eq!(world.finding().pod.as_ref().map(|pod| pod.uid.0.as_str()), Some(hash));
    // Its mirror is deleted by the UID that the API server knows.
    world.apply(gone("kubernetes", "api-uid")).check(&["undeclared-reachable 2381/TCP"]);
}

#[test]
fn a_pod_that_claims_another_ones_uid_is_not_believed() {
    let mut world = world();
    world.apply(told("cri", by_runtime()));
    let mut liar: Pod =
        pod("liar").uid("aa-bb").mirror("its-own").container("app", Regular, &[(9090, Tcp)]).into();
    liar.labels.insert("app".to_owned(), "liar".to_owned());
    world.apply(told("kubernetes", liar)).listen(APP, 10, 9090).wait(6_000);
    world.check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(world.finding().pod.as_ref().map(|pod| pod.name.as_str()), Some("app"));
}

#[test]
fn a_pod_deleted_and_made_again_under_the_same_name_keeps_nothing_of_the_old_one() {
    let mut world = world();
    world.apply(told("cri", by_runtime())).listen(APP, 10, 9090).wait(6_000);
    let old = world.finding().id.clone();
    let at = world.now;
    world.apply(gone("cri", "aa-bb")).apply(Input::NetnsGone { netns: NetnsId(APP), at });
    world.apply(netns(CURLER, "again", "10.1.0.2/24"));
    world.apply(told("cri", pod("app").uid("cc-dd").at("again").container("app", Regular, &[(8080, Tcp)])));
    world.listen(CURLER, 20, 9090).wait(6_000).check(&["undeclared-reachable 9090/TCP"]);
    assert_ne!(world.finding().id, old);
    assert_eq!(world.engine.pod("demo", "app").map(|pod| pod.uid.0.clone()).as_deref(), Some("cc-dd"));
}

#[test]
fn a_record_that_comes_late_still_names_the_deleted_pod_and_never_the_next_one() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    world.apply(told("cri", pod("caller").uid("cc-dd").address("10.7.0.9")));
    world.apply(gone("cri", "cc-dd")).calls(APP, Tcp, 9090, "10.7.0.9", 1);
    assert_eq!(world.finding().traffic.peers[0].reference.as_deref(), Some("demo/caller"));
    // Another pod takes the address while the old pod is still remembered.
    world.apply(told("cri", pod("next").uid("ee-ff").address("10.7.0.10")));
    world.apply(told("cri", pod("gone").uid("aa-00").address("10.7.0.10"))).apply(gone("cri", "aa-00"));
    world.calls(APP, Tcp, 9090, "10.7.0.10", 1);
    let finding = world.finding();
    let peer = finding.traffic.peers.iter().find(|peer| peer.address == ip("10.7.0.10")).expect("the peer");
    assert_eq!(peer.reference.as_deref(), Some("demo/next"));
}

#[test]
fn an_address_is_nobodys_some_seconds_after_its_pod() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    world.apply(told("cri", pod("caller").uid("cc-dd").address("10.7.0.9"))).apply(gone("cri", "cc-dd"));
    world.wait(6_000).calls(APP, Tcp, 9090, "10.7.0.9", 1);
    assert_eq!(world.finding().traffic.peers[0].reference, None);
}

#[test]
fn a_netns_whose_pod_is_not_known_yet_is_not_taken_for_the_pod_that_had_its_address() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    world.apply(told("cri", pod("caller").uid("cc-dd").address("10.7.0.9"))).apply(gone("cri", "cc-dd"));
    world.apply(netns(77, "new", "10.7.0.9/32")).calls(APP, Tcp, 9090, "10.7.0.9", 1);
    assert_eq!(world.finding().traffic.peers[0].reference, None);
}

#[test]
fn a_pod_that_dies_between_event_and_lookup_is_named_all_the_same() {
    let mut world = world();
    world.apply(told("cri", by_runtime())).apply(gone("cri", "aa-bb"));
    world.listen(APP, 10, 9090).wait(50).close(APP, 10).wait(5_000);
    assert_eq!(world.printed(9090), (1, 1));
    assert_eq!(world.engine.counts().totals.unattributed, 0);
    world.check(&[]);
}

#[test]
fn a_recycled_netns_inode_does_not_mix_two_pods_up() {
    let mut world = world();
    world.apply(told("cri", by_runtime())).listen(APP, 10, 9090).wait(6_000);
    let at = world.now;
    world.apply(Input::NetnsGone { netns: NetnsId(APP), at });
    let mut again = netns(CURLER, "again", "10.1.0.2/24");
    if let Input::NetnsSeen { facts, .. } = &mut again {
        facts.inode = 4_026_530_000 + APP;
    }
    world.apply(again).apply(told("cri", pod("next").uid("ee-ff").at("again").container("c", Regular, &[])));
    world.listen(CURLER, 20, 9090).wait(6_000).check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(world.finding().pod.as_ref().map(|pod| pod.name.as_str()), Some("next"));
}

#[test]
fn a_listener_is_tied_to_its_container_where_two_share_the_pod_and_the_port() {
    let mut world = world();
    let both = pod("app").uid("aa-bb").at("app").container("a", Regular, &[(80, Tcp)]);
    world.apply(told("cri", both.container("b", Sidecar, &[(80, Tcp)])));
    world.listen_in(&cgroup("aa-bb", "b"), APP, 10, 80);
    let listener = world.engine.listeners().next().expect("a listener");
    assert_eq!(listener.container.as_ref().map(|container| container.name.as_str()), Some("b"));
    assert_eq!(listener.declaration.declared_by, ["container/a", "container/b"]);
}

#[test]
fn a_hundred_namespaces_per_second_leave_nothing_behind() {
    let mut world = World::new();
    for round in 0..1_000_u64 {
        let (uid, name) = (format!("uid-{round}"), format!("ns-{round}"));
        world.apply(netns(1_000 + round, &name, "10.1.0.2/24"));
        world.apply(told(
            "cri",
            pod(&name).uid(&uid).at(&name).address("10.1.0.2").container("c", Regular, &[]),
        ));
        world.listen(1_000 + round, round, 9090).wait(10);
        let at = world.now;
        world.apply(gone("cri", &uid));
        world.apply(Input::NetnsGone { netns: NetnsId(1_000 + round), at });
    }
    world.wait(200_000);
    assert!(world.listeners().is_empty());
    assert!(world.engine.limits().iter().all(|(_, used, _)| *used == 0));
    assert_eq!(world.engine.next_deadline(), None, "nothing is remembered any more");
}

#[test]
fn the_declared_protocol_of_a_relisted_pod_counts() {
    let mut world = world();
    let udp = || pod("app").uid("aa-bb").at("app").container("app", Regular, &[(53, Udp)]);
    world.apply(pods(vec![udp().into()]));
    let at = world.now;
    world.apply(opened(APP, 10, Udp, 53, "0.0.0.0", at)).wait(6_000).check(&[]);
    assert_eq!(
        world.engine.listeners().next().map(|l| l.declaration.status),
        Some(DeclarationStatus::Declared)
    );
}

#[test]
fn the_digest_of_an_image_is_that_of_the_container_which_runs() {
    let with = |mut pod: Pod, id: &str, digest: &str| {
        let container = pod.containers.first_mut().expect("a container");
        (container.id, container.image_digest) = (id.to_owned(), digest.to_owned());
        pod
    };
    for (runtime, server, expected) in [
        (("c2", ""), ("c2", "sha256:bb"), "sha256:bb"),
        (("c2", "sha256:cc"), ("c2", "sha256:bb"), "sha256:cc"),
        (("c2", ""), ("c1", "sha256:bb"), ""),
        (("", ""), ("c1", "sha256:bb"), "sha256:bb"),
    ] {
        let mut world = world();
        world.apply(told("kubernetes", with(by_server(), server.0, server.1)));
        world.apply(told("cri", with(by_runtime().into(), runtime.0, runtime.1)));
        let pod = world.engine.pod("demo", "app").expect("the pod");
        let app = pod.containers.first().expect("a container");
        assert_eq!(app.image_digest, expected, "{runtime:?} {server:?}");
    }
}
