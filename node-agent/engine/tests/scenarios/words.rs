//! What messages advise: it fits what serves the port, and it names everything that it speaks of.

use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::ContainerKind::{Ephemeral, Regular};
use portolan_engine::model::process::Holder;

use crate::world::{
    APP, CURLER, HOST, World, cgroup, held, host, netns, opened, opened_in, pod, process, told,
};

/// A world with one pod that declares nothing and runs a debug container, and with one that calls it.
fn debugged() -> World {
    let mut world = World::new();
    let app = pod("app").uid("aa-bb").at("app").container("app", Regular, &[]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(told("kubernetes", app.container("debugger", Ephemeral, &[])));
    world.apply(told("kubernetes", pod("curler").at("curler")));
    world
}

#[test]
fn a_debug_container_is_never_told_to_declare() {
    for calls in ["", "10.1.0.3", "203.0.113.9"] {
        let mut world = debugged();
        let at = world.now;
        world.apply(opened_in(&cgroup("aa-bb", "debugger"), APP, 10, 9_090, at)).wait(6_000);
        if !calls.is_empty() {
            world.calls(APP, Tcp, 9_090, calls, 1);
        }
        let message = world.finding().message.clone();
        assert!(message.contains("end the debug session or close it"), "{message}");
        assert!(!message.contains("declare it"), "{message}");
    }
}

#[test]
fn a_pod_in_the_nodes_network_declares_a_host_port() {
    let mut world = World::new();
    let app = pod("app").uid("aa-bb").host_network().container("app", Regular, &[]);
    world.apply(host()).apply(told("kubernetes", app));
    let at = world.now;
    world.apply(opened_in(&cgroup("aa-bb", "app"), HOST, 10, 9_090, at)).wait(6_000);
    let message = world.finding().message.clone();
    assert!(message.ends_with("declare it as hostPort or bind it to loopback"), "{message}");
}

#[test]
fn a_port_of_the_kernel_ends_with_its_device() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(held(APP, at, (10, Udp, 4_789), "0.0.0.0", Holder::Kernel)).wait(6_000);
    let message = world.finding().message.clone();
    let advice = "declare it in containerPort or remove the network device that the kernel opened it for";
    assert!(message.ends_with(advice), "{message}");
}

#[test]
fn a_process_without_a_name_is_called_so() {
    for name in ["", " "] {
        let mut world = World::demo();
        let mut socket = opened(APP, 10, Tcp, 9_090, "0.0.0.0", world.now);
        if let Input::SocketOpened(socket) = &mut socket {
            socket.process = Some(process(name, None));
        }
        world.apply(socket).wait(6_000);
        let message = world.finding().message.clone();
        assert!(
            message.starts_with("port 9090/TCP is served by a process without a name (pid 77) but"),
            "{message}"
        );
    }
}

#[test]
fn a_well_known_port_is_named_and_keeps_its_code_and_severity() {
    let found = |name: &str| {
        let mut world = World::demo();
        let mut socket = opened(APP, 10, Tcp, 6_379, "0.0.0.0", world.now);
        if let Input::SocketOpened(socket) = &mut socket {
            socket.process = Some(process(name, None));
        }
        world.apply(socket).wait(6_000);
        let finding = world.finding();
        (finding.code, finding.code.severity(), finding.message.clone())
    };
    let (redis, other) = (found("redis-server"), found("app"));
    assert!(
        redis.2.contains("; this is likely Redis: callers can read") && redis.2.len() < 512,
        "{}",
        redis.2
    );
    assert!(other.2.contains("; port 6379 is often Redis: callers can read"), "{}", other.2);
    let mut world = World::demo();
    world.listen(APP, 10, 9_090).wait(6_000);
    let plain = world.finding();
    assert!(!plain.message.contains("likely") && !plain.message.contains("often"), "{}", plain.message);
    assert_eq!((redis.0, redis.1), (plain.code, plain.code.severity()));
    assert_eq!((other.0, other.1), (plain.code, plain.code.severity()));
}
