//! Pods that try to exhaust or deceive the agent.

use portolan_engine::model::change::Change;
use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::{PortId, Protocol};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::Exposure;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind;
use portolan_engine::model::traffic::Origin;

use crate::objects::{named, number, sends, service, services};
use crate::world::{
    APP, CURLER, HOST, PodBuilder, World, app, cgroup, host, netns, opened, pod, pods, port, process, scan,
    told,
};

#[test]
fn very_many_ports_are_one_storm_which_ends_well_below_the_cap() {
    let mut world = World::demo();
    for port in 1..=200 {
        world.listen(APP, u64::from(port), 10_000 + port);
    }
    world.wait(6_000).check(&["port-storm"]);
    for port in 1..=151 {
        world.close(APP, port);
    }
    world.check(&["port-storm"]);
    for port in 152..=198 {
        world.close(APP, port);
    }
    world.check(&["undeclared-reachable 10199/TCP", "undeclared-reachable 10200/TCP"]);
}

#[test]
fn a_storm_does_not_hide_who_called_from_outside() {
    let mut world = World::demo();
    for port in 1..=3 {
        world.listen(APP, u64::from(port), 9_000 + port);
    }
    world.wait(6_000).calls(APP, Protocol::Tcp, 9_002, "203.0.113.9", 1).wait(5_000);
    for port in 1..=200 {
        world.listen(APP, 100 + u64::from(port), 10_000 + port);
    }
    world.wait(6_000).check(&["port-storm", "undeclared-external 9002/TCP"]);
    assert_eq!(world.told("undeclared-external"), [FindingState::Open]);
    world.calls(APP, Protocol::Tcp, 9_003, "203.0.113.9", 1).wait(5_000);
    world.check(&["port-storm", "undeclared-external 9002/TCP", "undeclared-external 9003/TCP"]);
}

#[test]
fn a_storm_of_critical_ports_is_bounded_as_well() {
    let mut world = World::demo();
    for port in 1..=200 {
        world.listen(APP, u64::from(port), 10_000 + port);
        world.calls(APP, Protocol::Tcp, 10_000 + port, "203.0.113.9", 1);
    }
    world.wait(10_000);
    assert_eq!(world.findings().len(), 65);
    assert!(world.findings().contains(&"undeclared-external 10064/TCP".to_owned()));
    world.close(APP, 1);
    assert!(world.findings().contains(&"undeclared-external 10065/TCP".to_owned()));
    assert_eq!(world.findings().len(), 65);
}

#[test]
fn a_storm_is_told_again_each_time_it_doubled() {
    let mut world = World::demo();
    for port in 1..=600 {
        world.listen(APP, u64::from(port), 10_000 + port);
    }
    world.wait(6_000).check(&["port-storm"]);
    // At 65, 130, 260 and 520 ports.
    assert_eq!(world.told("port-storm"), [FindingState::Open; 4]);
}

/// Opens these ports on loopback, cookies alike.
fn listen_on_loopback(world: &mut World, ports: std::ops::RangeInclusive<u16>) {
    for port in ports {
        let at = world.now;
        world.apply(opened(APP, u64::from(port), Protocol::Tcp, port, "127.0.0.1", at));
    }
}

#[test]
fn ports_on_loopback_are_no_storm_and_leave_other_ports_their_findings() {
    let mut world = World::demo();
    listen_on_loopback(&mut world, 10_000..=10_064);
    world.listen(APP, 1, 9090).wait(6_000);
    let findings = world.findings();
    assert_eq!(findings.len(), 66, "{findings:?}");
    assert!(findings.contains(&"undeclared-loopback 10000/TCP".to_owned()));
    assert!(findings.contains(&"undeclared-reachable 9090/TCP".to_owned()));
}

#[test]
fn very_many_quiet_ports_are_one_finding_of_their_worst_severity() {
    let mut world = World::demo();
    listen_on_loopback(&mut world, 10_001..=11_024);
    world.wait(6_000);
    assert_eq!(world.findings().len(), 1_024);
    listen_on_loopback(&mut world, 11_025..=11_025);
    world.wait(6_000).check(&["undeclared-loopback"]);
    let finding = world.finding();
    assert_eq!(finding.exposure, Exposure::Loopback);
    assert!(
        finding
            .message
            .starts_with("pod demo/multi-port-app serves 1025 undeclared ports that are on loopback"),
        "{}",
        finding.message
    );
    // What is worse is said apart, and an explained port raises the one finding to low.
    world.listen(APP, 1, 9090).wait(6_000).check(&["undeclared-loopback", "undeclared-reachable 9090/TCP"]);
    world.apply(told("file", pod("multi-port-app").at("app").label("app", "web")));
    world.apply(services(vec![sends(service("web", "web"), 80, Protocol::Tcp, number(9090))]));
    world.check(&["undeclared-explained"]);
    world.close(APP, 1).check(&["undeclared-loopback"]);
    for cookie in 10_769..=11_025 {
        world.close(APP, cookie);
    }
    assert_eq!(world.findings().len(), 768);
}

#[test]
fn every_port_on_loopback_writes_a_bounded_number_of_findings() {
    let mut world = World::with(EngineOptions { max_listeners: 200_000, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
    // The lowest ports last: none of them takes the place of another one.
    for port in (1..=u16::MAX).rev() {
        let at = world.now;
        world.apply(opened(APP, u64::from(port), Protocol::Tcp, port, "127.0.0.1", at));
    }
    world.wait(6_000).check(&["undeclared-loopback"]);
    // 1,024 begin, and are resolved into the one, which is told again each time the number doubled.
    assert!(world.told("undeclared-loopback").len() < 2_100, "{}", world.told("undeclared-loopback").len());
}

#[test]
fn very_many_ports_without_a_pod_are_one_finding_which_is_no_worse() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    for port in 1..=200 {
        world.listen(APP, u64::from(port), 10_000 + port);
    }
    world.wait(10_000).check(&["unattributed"]);
    let message = world.engine.findings().next().expect("a finding").message.clone();
    assert!(
        message.starts_with("200 ports are served in netns app, which belongs to no known pod"),
        "{message}"
    );
    world.apply(pods(vec![app()])).check(&["port-storm"]);
}

#[test]
fn every_port_there_is_stays_within_the_cap_and_blinds_nobody() {
    let mut world = World::with(EngineOptions { max_listeners: 1_000, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![app()]));
    for port in 1..=u16::MAX {
        world.listen(APP, u64::from(port), port);
    }
    world.listen(CURLER, 100_000, 80).wait(6_000);
    assert!(world.listeners().contains(&"80/TCP -".to_owned()));
    assert_eq!(world.engine.limits()[0], ("listeners", 501, 1_000));
    assert!(world.engine.counts().totals.lost.contains_key("engine-listeners-full"));
}

#[test]
fn a_flood_of_addresses_is_truncated_and_keeps_the_busy_peer() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 100);
    for high in 0..20 {
        for low in 0..200 {
            world.calls(APP, Protocol::Tcp, 9090, &format!("198.51.{high}.{low}"), 1);
        }
    }
    let traffic = world.engine.listeners().next().expect("a listener").traffic.clone();
    assert_eq!((traffic.peers.len(), traffic.truncated, traffic.connections), (64, true, 4_100));
    assert_eq!(traffic.peers[0].connections, 100);
}

/// A pod that declares these ports by name and is selected by Services.
fn declares(count: u16, ready: bool) -> PodBuilder {
    let pod = pod("app").at("app").label("app", "web").container("app", ContainerKind::Regular, &[]);
    (1..=count)
        .fold(pod, |pod, port| pod.named_port(&format!("port-{port}"), port, Protocol::Tcp))
        .ready(ready)
}

/// Readiness changes often. Each change must cost in proportion to the pod's ports, not times its Services' ports.
#[test]
fn very_many_declared_ports_and_a_service_of_as_many_are_looked_at_without_delay() {
    let mut world = World::new();
    let unknown = |service, port| sends(service, port, Protocol::Tcp, named("port-of-nobody"));
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("file", declares(1_024, true)));
    world.apply(services(vec![(1..=1_024).fold(service("web", "web"), unknown)]));
    let at = world.now;
    world.apply(scan(APP, at, &[]));
    for turn in 0..100 {
        world.apply(told("file", declares(1_024, turn % 2 == 0)));
    }
    assert!(world.findings().is_empty());
}

#[test]
fn silent_ports_of_one_pod_are_told_up_to_the_cap_and_the_rest_is_counted() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("file", declares(200, true)));
    let at = world.now;
    world.apply(scan(APP, at, &[])).wait(61_000);
    let told = |world: &World| -> Vec<u16> {
        let mut ports: Vec<u16> = world.engine.findings().filter_map(|f| Some(f.port?.get())).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(told(&world), (1..=64).collect::<Vec<_>>());
    let lost = |world: &World| world.engine.counts().totals.lost.get("expected-ports-full").copied();
    assert_eq!(lost(&world), Some(136));
    world.apply(told_ready(false)).apply(told_ready(true)).wait(61_000);
    assert_eq!(told(&world).len(), 64);
    world.listen(APP, 7, 7).wait(61_000);
    assert_eq!(told(&world), (1..=65).filter(|port| *port != 7).collect::<Vec<_>>());
    world.close(APP, 7).wait(61_000);
    assert_eq!(told(&world), (1..=64).collect::<Vec<_>>());
}

fn told_ready(ready: bool) -> Input {
    told("file", declares(200, ready))
}

#[test]
fn services_that_send_to_every_port_there_is_are_bounded_too() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("file", declares(1, true)));
    let at = world.now;
    world.apply(scan(APP, at, &[]));
    let all: Vec<u16> = (1..=u16::MAX).collect();
    let of_some = |(n, ports): (usize, &[u16])| {
        ports.iter().fold(service(&format!("web-{n}"), "web"), |service, port| {
            sends(service, *port, Protocol::Udp, number(*port))
        })
    };
    world.apply(services(all.chunks(1_024).enumerate().map(of_some).collect())).wait(61_000);
    assert_eq!(world.engine.findings().count(), 64);
    let lost = world.engine.counts().totals.lost["expected-ports-full"];
    // One of them is declared, over TCP; Services expect all others.
    assert_eq!(lost, 65_535 + 1 - 64);
}

#[test]
fn names_cannot_steer_a_terminal() {
    let mut world = World::demo();
    let mut socket = opened(APP, 10, Protocol::Tcp, 9090, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = Some(process("\u{1b}[2Jx\n\u{202e}y", None));
    }
    world.apply(socket).wait(6_000);
    let message = world.engine.findings().next().expect("a finding").message.clone();
    assert!(!message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{message:?}");
}

#[test]
fn opens_and_closes_without_end_leave_nothing_behind() {
    let mut world = World::demo();
    for cookie in 10..10_010 {
        world.listen(APP, cookie, 9090).wait(1).close(APP, cookie);
    }
    world.wait(100_000);
    assert!(world.listeners().is_empty());
    assert!(world.engine.limits().iter().all(|(_, used, _)| *used == 0));
}

#[test]
fn very_many_loopback_addresses_do_not_hide_the_one_that_is_reachable() {
    for (sockets, reachable) in [(64, "192.168.1.7"), (64, "fd00::7"), (1_000, "192.168.1.7")] {
        let mut world = World::demo();
        for last in 1..=sockets {
            let loopback = format!("127.0.{}.{}", last / 250, last % 250 + 1);
            world.apply(opened(APP, last, Protocol::Tcp, 9090, &loopback, world.now));
        }
        world.apply(opened(APP, 5_000, Protocol::Tcp, 9090, reachable, world.now)).wait(6_000);
        world.check(&["undeclared-reachable 9090/TCP"]);
        let listener = world.engine.listeners().next().expect("a listener");
        assert_eq!(listener.addresses.len(), 64);
        assert!(sockets > 64 || listener.addresses.contains(&reachable.parse().expect("an address")));
        world.close(APP, 5_000).wait(1_000).check(&["undeclared-loopback 9090/TCP"]);
    }
}

#[test]
fn netns_that_nobody_found_leave_nothing_behind() {
    let mut world = World::demo();
    for netns in 1_000..2_000 {
        world.listen(netns, netns, 9090).wait(1).close(netns, netns);
    }
    world.wait(100_000);
    assert_eq!(world.engine.remembered_netns(), 3);
}

#[test]
fn netns_that_found_no_room_leave_nothing_behind() {
    let mut world = World::with(EngineOptions { max_listeners: 4, ..EngineOptions::default() });
    for netns in 1_000..2_000 {
        world.listen(netns, netns, 9090);
        world.calls(netns, Protocol::Tcp, 9091, "10.1.0.3", 1);
    }
    assert!(world.engine.remembered_netns() <= 4);
}

#[test]
fn many_netns_without_a_pod_leave_three_quarters_of_the_room_to_others() {
    let mut world = World::with(EngineOptions { max_listeners: 100, ..EngineOptions::default() });
    for id in 1_000..2_000 {
        world.listen(id, id, 9090);
    }
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()])).wait(10_000);
    assert_eq!(world.engine.limits()[0], ("listeners", 25, 100));
    world.listen(APP, 10, 9090).wait(6_000);
    assert!(world.findings().contains(&"undeclared-reachable 9090/TCP".to_owned()));
}

/// Used entries of a table.
fn used(world: &World, table: &str) -> usize {
    world.engine.limits().iter().filter(|(name, ..)| *name == table).map(|(_, used, _)| used).sum()
}

#[test]
fn a_pod_that_makes_netns_of_its_own_leaves_a_quarter_of_the_room_to_others() {
    let mut world = World::with(EngineOptions { max_listeners: 100, ..EngineOptions::default() });
    let shop = pod("app").uid("aa-bb").at("app").container("app", ContainerKind::Regular, &[]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![shop.into(), pod("curler").at("curler").into()]));
    for port in 1..=200 {
        world.listen_in(&cgroup("aa-bb", "app"), APP, u64::from(port), port);
    }
    // Their ports belong to the pod by its cgroup.
    for id in 1_000..2_000 {
        world.listen_in(&cgroup("aa-bb", "app"), id, id, 9090);
    }
    for id in 1_000..2_000 {
        for socket in 1..=9 {
            world.listen_in(&cgroup("aa-bb", "app"), id, 100_000 + 10 * id + socket, 9090);
        }
    }
    world.wait(10_000);
    assert_eq!((used(&world, "listeners"), used(&world, "sockets")), (75, 150));
    for port in 1..=25 {
        world.listen(CURLER, 10_000_000 + u64::from(port), port);
    }
    assert_eq!(used(&world, "listeners"), 100);
}

#[test]
fn what_becomes_a_pods_no_longer_counts_among_what_is_nobodys() {
    let mut world = World::with(EngineOptions { max_listeners: 100, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    let listen = |world: &mut World, netns: u64| {
        for port in 1..=100 {
            world.listen(netns, 1_000 * netns + u64::from(port), port);
        }
        used(world, "listeners")
    };
    assert_eq!(listen(&mut world, APP), 25);
    assert_eq!(listen(&mut world, 7), 25, "another netns of nobody");
    world.apply(pods(vec![app()]));
    assert_eq!(listen(&mut world, 7), 50);
    assert_eq!(listen(&mut world, APP), 75);
    world.apply(pods(Vec::new())).wait(100_000);
    for port in 1..=10 {
        world.close(7, 7_000 + port);
    }
    world.wait(1);
    assert_eq!(listen(&mut world, 7), 65, "the pod is forgotten, and its netns is nobody's again");
}

#[test]
fn callers_of_one_netns_leave_room_for_those_of_others() {
    let mut world = World::with(EngineOptions { max_peers: 100, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![app(), pod("curler").at("curler").into()]));
    for port in 9_001..=9_010 {
        world.listen(APP, u64::from(port), port);
        for caller in 1..=50 {
            world.calls(APP, Protocol::Tcp, port, &format!("198.51.100.{caller}"), 1);
        }
    }
    assert_eq!(used(&world, "peers"), 50);
    world.listen(CURLER, 10, 9090).calls(CURLER, Protocol::Tcp, 9090, "203.0.113.9", 1);
    assert_eq!(used(&world, "peers"), 51);
    for cookie in 9_001..=9_010 {
        world.close(APP, cookie);
    }
    // Who called is certain only after a while.
    world.wait(5_000);
    assert_eq!(used(&world, "peers"), 1);
}

#[test]
fn an_ephemeral_udp_server_is_told_also_where_no_caller_finds_room() {
    let mut world = World::with(EngineOptions { max_peers: 0, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
    world.apply(opened(APP, 10, Protocol::Udp, 40_000, "0.0.0.0", world.now)).wait(6_000).check(&[]);
    world.calls(APP, Protocol::Udp, 40_000, "10.1.0.3", 1).wait(3_000);
    world.check(&["undeclared-active 40000/UDP"]);
}

#[test]
fn a_pods_own_calls_push_nobody_out_of_the_list_of_its_peers() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).calls(APP, Protocol::Tcp, 9090, "203.0.113.9", 1);
    for caller in 1..=200 {
        world.calls(APP, Protocol::Tcp, 9090, &format!("127.0.1.{caller}"), 1_000);
    }
    for caller in 1..=63 {
        world.calls(APP, Protocol::Tcp, 9090, &format!("198.51.100.{caller}"), 1);
    }
    let traffic = world.listener().traffic.clone();
    assert_eq!((traffic.peers.len(), traffic.truncated), (64, true));
    assert!(traffic.peers.iter().all(|peer| peer.origin == Origin::External), "{traffic:?}");
}

/// Ports that the kernel side is asked to stop counting.
fn unwatched(world: &World) -> Vec<PortId> {
    let unwatched = world.said.iter().filter_map(|change| match change {
        Change::Unwatch(id) => Some(*id),
        _ => None,
    });
    unwatched.collect()
}

#[test]
fn a_port_that_finds_no_room_is_not_counted() {
    let mut world = World::with(EngineOptions { max_listeners: 4, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
    world.listen(APP, 10, 9090).listen(APP, 11, 9091).listen(APP, 12, 9092);
    assert_eq!(unwatched(&world), [port(APP, Protocol::Tcp, 9092)]);
    world.calls(APP, Protocol::Tcp, 9092, "10.1.0.3", 1);
    assert_eq!(unwatched(&world).len(), 2, "the kernel made the counters anew");
    for cookie in 100..200 {
        world.listen(APP, cookie, 9090);
    }
    assert_eq!(
        unwatched(&world).len(),
        2,
        "a port that is kept stays counted, even if a socket of it found no room"
    );
}

#[test]
fn the_nodes_own_ports_are_not_counted_and_those_of_its_pods_are() {
    let mut world = World::new();
    world.apply(host()).listen(HOST, 10, 22).wait(1_000).listen(HOST, 11, 53).close(HOST, 11);
    assert_eq!(unwatched(&world), [port(HOST, Protocol::Tcp, 53)]);
    world.wait(3_000);
    assert_eq!(unwatched(&world), [port(HOST, Protocol::Tcp, 53), port(HOST, Protocol::Tcp, 22)]);
    let mut socket = opened(HOST, 12, Protocol::Tcp, 9100, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = Some(process("node_exporter", Some("/kubepods/podaa-bb/0123")));
    }
    world.apply(socket).wait(1_000);
    world.apply(pods(vec![pod("exporter").uid("aa-bb").host_network().into()])).wait(6_000);
    assert!(world.said.contains(&Change::Watch(port(HOST, Protocol::Tcp, 9100))));
    assert_eq!(unwatched(&world).len(), 2);
    world.calls(HOST, Protocol::Tcp, 22, "10.1.0.3", 1);
    world.apply(opened(HOST, 13, Protocol::Tcp, 22, "192.0.2.10", world.now));
    assert_eq!(
        unwatched(&world)[2..],
        [port(HOST, Protocol::Tcp, 22); 2],
        "the kernel made the counters anew"
    );
}

#[test]
fn a_port_of_which_only_traffic_is_known_is_not_counted_for_ever() {
    let mut world = World::demo();
    world.calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1).wait(10_000);
    assert_eq!(unwatched(&world), [port(APP, Protocol::Tcp, 9090)]);
}

#[test]
fn what_finds_no_room_is_told_again_and_again_with_how_often() {
    let mut world = World::with(EngineOptions { max_listeners: 2, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()])).listen(APP, 1, 1);
    for second in 0..30 {
        world.listen(APP, 10 + second, 9_000).listen(APP, 100 + second, 9_001).wait(1_000);
    }
    world.wait(60_000);
    let told = world.said.iter().filter_map(|change| match change {
        Change::Loss(loss) => Some((loss.reason, loss.count, loss.recovered)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told.iter().map(|(_, count, _)| count).sum::<u64>(), 60);
}
