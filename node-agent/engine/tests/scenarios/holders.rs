//! Who serves a port: the process that holds the socket now, the kernel, or nobody; and whose container that is.

use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::{Listener, ServedBy};
use portolan_engine::model::pod::ContainerKind::{Ephemeral, Init, Regular};
use portolan_engine::model::pod::Pod;
use portolan_engine::model::process::{Holder, Process};

use crate::world::{
    APP, HOST, PodBuilder, World, app, cgroup, held, host, netns, netns_at, opened, opened_in, pod, pods,
    process,
};

fn process_name(listener: &Listener) -> Option<&str> {
    listener.process.as_ref().map(|process| process.name.as_str())
}

#[test]
fn a_scan_names_the_process_that_holds_the_socket_now() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(1_000);
    for (holder, then) in [
        (Holder::Process(process("server", None)), Some("server")),
        (Holder::Unknown, Some("server")),
        (Holder::Nobody, None),
        (Holder::Process(process("next", None)), Some("next")),
    ] {
        let at = world.now;
        world.apply(held(APP, at, (10, Tcp, 9090), "0.0.0.0", holder)).wait(1_000);
        assert_eq!(process_name(&world.listener()), then);
        assert_eq!(world.listener().served_by, ServedBy::Process);
    }
}

#[test]
fn a_socket_of_the_kernel_is_nobodys_from_the_first_line() {
    let mut world = World::demo();
    let mut vxlan = opened(APP, 10, Udp, 4_789, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut vxlan {
        socket.process = Some(process("ip", None));
    }
    world.apply(vxlan).wait(100);
    assert!(world.listeners().is_empty());
    let at = world.now;
    world.apply(held(APP, at, (10, Udp, 4_789), "0.0.0.0", Holder::Kernel)).wait(6_000);
    let listener = world.listener();
    assert_eq!((process_name(&listener), listener.served_by), (None, ServedBy::Kernel));
    assert_eq!(listener.container, None);
    assert!(world.finding().message.starts_with("port 4789/UDP is served by the kernel but not declared"));
    assert_eq!(world.printed(4_789), (1, 0));
}

#[test]
fn of_two_programs_on_one_port_the_one_that_can_be_reached_is_judged() {
    for order in [[10, 11], [11, 10]] {
        let mut world = World::demo();
        for cookie in order {
            let (address, name) = if cookie == 10 { ("127.0.0.1", "redis") } else { ("10.1.0.2", "nc") };
            let mut socket = opened(APP, cookie, Tcp, 6_379, address, world.now);
            if let Input::SocketOpened(socket) = &mut socket {
                socket.process = Some(process(name, None));
            }
            world.apply(socket);
        }
        world.wait(6_000).check(&["undeclared-reachable 6379/TCP"]);
        let listener = world.listener();
        assert_eq!(process_name(&listener), Some("nc"));
        let others: Vec<&str> = listener.other_processes.iter().map(|other| other.name.as_str()).collect();
        assert_eq!(others, ["redis"]);
        let message = &world.finding().message;
        assert!(message.starts_with("port 6379/TCP is served by nc, beside redis but"), "{message}");
        world.close(APP, 11).check(&["undeclared-loopback 6379/TCP"]);
        assert_eq!(process_name(&world.listener()), Some("redis"));
        assert!(world.listener().other_processes.is_empty());
    }
}

#[test]
fn an_unknown_process_that_can_be_reached_is_not_called_by_the_name_of_another() {
    let mut world = World::demo();
    world.apply(opened(APP, 10, Tcp, 6_379, "127.0.0.1", world.now));
    let mut socket = opened(APP, 11, Tcp, 6_379, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = None;
    }
    world.apply(socket);
    assert_eq!(process_name(&world.listener()), None);
    assert_eq!(world.listener().other_processes.len(), 1);
}

/// The container that a listener on 8080 shows.
fn container(pod: PodBuilder, process: Option<Process>) -> Option<String> {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![pod.at("app").into()]));
    let mut socket = opened(APP, 10, Tcp, 8_080, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = process;
    }
    world.apply(socket);
    world.listener().container.as_ref().map(|container| container.name.clone())
}

#[test]
fn a_port_is_served_by_its_container_or_by_none() {
    let declares = &[(8_080, Tcp)][..];
    let one = || pod("a").container("main", Regular, &[]);
    let two = || pod("a").container("main", Regular, declares).container("other", Regular, &[]);
    let in_main = || Some(process("x", Some(&cgroup("uid-a", "main"))));
    let elsewhere = || Some(process("x", Some("/system.slice/x.service")));
    for (what, pod, process, then) in [
        ("the only one", one(), None, Some("main")),
        ("by its cgroup", two(), in_main(), Some("main")),
        ("only one of two declares the port", two(), None, None),
        ("the other one does not run", two().running(false), None, Some("main")),
        ("neither runs", one().running(false), None, None),
        ("outside of all", one(), elsewhere(), None),
        ("beside a debug container", one().container("debug", Ephemeral, &[]), None, None),
        (
            "beside an init container that is over",
            one().container("init", Init, &[]).running(false),
            None,
            Some("main"),
        ),
        ("beside one that runs", one().container("init", Init, &[]).running(true), None, None),
        (
            "an init container runs, the other waits",
            one().running(false).container("init", Init, declares).running(true),
            None,
            None,
        ),
    ] {
        assert_eq!(container(pod, process).as_deref(), then, "{what}");
    }
}

#[test]
fn a_process_of_another_pod_is_named_with_its_own_container() {
    let mut world = World::new();
    let agent = pod("agent").uid("aa-bb").at("agent").container("agent", Regular, &[]);
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app(), agent.into()]));
    world.apply(opened_in(&cgroup("aa-bb", "agent"), APP, 10, 9090, world.now)).wait(6_000);
    let listener = world.listener();
    assert_eq!(listener.pod.as_ref().map(|pod| pod.name.as_str()), Some("multi-port-app"));
    assert_eq!(listener.container.as_ref().map(|one| one.name.as_str()), Some("agent"));
    world.check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn a_new_pods_listener_has_one_id() {
    // The netns exists before its name, the pod's path is known, and the process's cgroup names the pod.
    let mut world = World::new();
    world.apply(pods(vec![pod("app").uid("aa-bb").at("app").into()]));
    let mut nameless = netns(APP, "app", "10.1.0.2/24");
    if let Input::NetnsSeen { facts, .. } = &mut nameless {
        facts.paths.clear();
    }
    world.apply(nameless);
    world.listen_in("/kubepods/podaa-bb/0123", APP, 10, 9090).wait(1_000);
    assert_eq!(world.printed(9090), (0, 0));
    let at = world.now;
    world.apply(netns_at(APP, "app", "10.1.0.2/24", at));
    assert_eq!(world.printed(9090), (1, 0));
    world.wait(6_000);
    assert_eq!(world.printed(9090), (1, 0));
}

#[test]
fn a_nested_netns_of_a_pod_whose_own_is_known_does_not_wait() {
    let mut world = World::new();
    world.apply(pods(vec![pod("app").uid("aa-bb").at("app").into()])).apply(netns(APP, "app", "10.1.0.2/24"));
    let mut nested = netns(7, "nested", "172.17.0.2/16");
    if let Input::NetnsSeen { facts, .. } = &mut nested {
        facts.paths.clear();
    }
    world.apply(nested).listen_in("/kubepods/podaa-bb/0123", 7, 10, 9090);
    assert_eq!(world.printed(9090), (1, 0));
}

#[test]
fn a_listener_that_the_server_knows_before_the_runtime_waits_for_its_netns() {
    let mut world = World::new();
    let of_server: Pod = pod("app").uid("aa-bb").into();
    world
        .apply(crate::world::told("cri", pod("other").uid("cc-dd")))
        .apply(crate::world::told("kubernetes", of_server));
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    world.apply(opened_in("/kubepods/podaa-bb/0123", APP, 10, 9090, world.now)).wait(500);
    assert_eq!(world.printed(9090), (0, 0));
    world.apply(crate::world::told("cri", pod("app").uid("aa-bb").at("app"))).wait(6_000);
    assert_eq!(world.printed(9090), (1, 0));
}

#[test]
fn the_finding_of_a_pod_in_two_netns_by_turns_stays() {
    for (first, second) in [(3, 4), (4, 3)] {
        let mut world = World::new();
        world.apply(netns(first, "one", "10.1.0.2/24")).apply(netns(second, "two", "10.1.0.4/24"));
        let at = |name: &str| pods(vec![pod("app").at(name).into()]);
        world.apply(at("one")).listen(first, 10, 9090).listen(second, 11, 9090).wait(10_000);
        let of_pod = |world: &World| {
            world.engine.findings().find(|finding| finding.pod.is_some()).map(|finding| finding.id.clone())
        };
        let id = of_pod(&world);
        for turn in 0..6 {
            world.apply(at(if turn % 2 == 0 { "two" } else { "one" })).wait(3_000);
            assert_eq!(of_pod(&world), id);
            world.check(&["unattributed 9090/TCP", "undeclared-reachable 9090/TCP"]);
        }
        assert!(!world.told("undeclared-reachable").contains(&FindingState::Resolved));
        world.close(first, 10).close(second, 11).wait(1_000).check(&[]);
        assert!(world.listeners().is_empty());
    }
}

#[test]
fn a_port_that_waits_is_judged_when_its_pod_appears_also_without_a_cgroup() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).listen(APP, 10, 9090).wait(4_000);
    assert_eq!(world.listeners(), ["9090/TCP -"]);
    world.apply(pods(vec![app()]));
    assert_eq!(world.listeners(), ["9090/TCP multi-port-app"]);
}

#[test]
fn loopback_of_the_node_is_shared_by_all_pods_in_its_network() {
    let mut world = World::new();
    world.apply(host()).apply(pods(vec![pod("proxy").uid("aa-bb").host_network().into()]));
    let mut socket = opened(HOST, 11, Tcp, 9100, "127.0.0.1", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = Some(process("node_exporter", Some("/kubepods/podaa-bb/0123")));
    }
    world.apply(socket).calls(HOST, Tcp, 9100, "127.0.0.1", 1).wait(6_000);
    world.check(&["undeclared-loopback 9100/TCP"]);
    let message = &world.finding().message;
    assert!(
        message.contains("every process of the node and every pod in the node's network can reach it"),
        "{message}"
    );
    assert_eq!(world.finding().traffic.peers[0].origin.as_str(), "node");
}
