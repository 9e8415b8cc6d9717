//! Listeners: opened, closed, short-lived, scanned, grouped and hidden.

use portolan_engine::model::change::Change;
use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::{NetnsId, Protocol};
use portolan_engine::model::input::Input;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind;

use crate::objects::{policies, services};
use crate::world::{APP, CURLER, HOST, World, host, ms, netns, opened, pod, pods, process, scan};

#[test]
fn an_undeclared_port_is_printed_at_once_and_found_after_the_grace_time() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).listen(APP, 11, 8080);
    assert_eq!(world.listeners(), ["8080/TCP multi-port-app", "9090/TCP multi-port-app"]);
    world.wait(4_900).check(&[]);
    world.wait(200).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn an_engine_that_emits_no_reports_answers_the_same_queries() {
    let stands = [true, false].map(|emits_reports| {
        let mut world = World::with(EngineOptions { emits_reports, ..EngineOptions::default() });
        world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24"));
        world.apply(pods(vec![crate::world::app()]));
        world.listen(APP, 10, 9090).listen(APP, 11, 9091).wait(6_000);
        let before = world.engine.generation();
        world.close(APP, 11).wait(6_000);
        let after = world.engine.generation();
        let is_report = |change: &&Change| matches!(change, Change::Listener(_) | Change::Finding(_));
        let reports = world.said.iter().filter(is_report).count();
        assert_eq!(reports > 0, emits_reports);
        let findings: Vec<_> = world.engine.findings().collect();
        (world.listeners(), findings, before < after)
    });
    assert_eq!(stands[0], stands[1]);
    assert_eq!((stands[0].0.len(), stands[0].1.len(), stands[0].2), (1, 1, true));
}

#[test]
fn a_closed_socket_resolves_its_finding() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).close(APP, 10);
    world.check(&[]);
    assert_eq!(world.told("undeclared-reachable"), [FindingState::Open, FindingState::Resolved]);
    assert_eq!(world.printed(9090), (1, 1));
}

#[test]
fn opened_for_50_ms_only_is_printed_and_counted() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(50).close(APP, 10).wait(6_000);
    assert_eq!(world.printed(9090), (1, 1));
    assert_eq!(world.engine.counts().totals.short_lived, 1);
    world.check(&[]);
}

#[test]
fn opened_before_the_agent_started_has_no_opening_time() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(scan(APP, at, &[(10, Protocol::Tcp, 9090)])).wait(6_000);
    world.check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(world.engine.listeners().next().expect("a listener").opened_at, None);
}

#[test]
fn an_opening_older_than_the_scan_that_misses_it_is_short_lived_and_not_lost() {
    let mut world = World::demo();
    world.wait(1_000);
    let at = world.now;
    world.apply(scan(APP, at, &[]));
    world.apply(opened(APP, 10, Protocol::Tcp, 9090, "0.0.0.0", ms(1_500)));
    assert_eq!(world.printed(9090), (1, 1));
    assert!(world.listeners().is_empty());
}

#[test]
fn the_same_socket_may_listen_again_on_another_port() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(100).close(APP, 10).wait(100).listen(APP, 10, 9091);
    assert_eq!(world.listeners(), ["9091/TCP multi-port-app"]);
    assert_eq!(world.printed(9090), (1, 1));
}

#[test]
fn a_reuseport_group_is_one_listener_until_its_last_socket_ends() {
    let mut world = World::demo();
    for cookie in 10..14 {
        world.listen(APP, cookie, 9090);
    }
    assert_eq!(world.engine.listeners().map(|l| l.sockets).collect::<Vec<_>>(), [4]);
    for cookie in 10..13 {
        world.close(APP, cookie);
    }
    assert_eq!(world.printed(9090), (1, 0));
    world.close(APP, 13);
    assert_eq!(world.printed(9090), (1, 1));
}

#[test]
fn a_listener_whose_sockets_take_turns_is_as_old_as_the_first_of_them() {
    for drained in [false, true] {
        let mut world = World::with(EngineOptions { traffic_drained: drained, ..EngineOptions::default() });
        world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![crate::world::app()]));
        let begin = world.now;
        for cookie in 10..16 {
            world.listen(APP, cookie, 9090).wait(1).close(APP, cookie - 1).wait(3_999);
        }
        world.check(&["undeclared-reachable 9090/TCP"]);
        assert_eq!(world.finding().first_seen, begin);
        assert_eq!(world.told("undeclared-reachable"), [FindingState::Open]);
        assert_eq!(world.engine.counts().totals.short_lived, 0);
    }
}

#[test]
fn a_close_that_is_told_before_the_next_opening_changes_nothing_about_the_age() {
    let mut world = World::demo();
    let begin = world.now;
    world.listen(APP, 10, 9090).wait(4_000);
    let next = opened(APP, 11, Protocol::Tcp, 9090, "0.0.0.0", world.now);
    world.wait(1).close(APP, 10).wait(1).apply(next).wait(1_100);
    world.check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(world.finding().first_seen, begin);
}

#[test]
fn a_break_within_the_grace_time_is_none_and_a_longer_one_is() {
    for (pause, then) in [(4_900, vec!["undeclared-reachable 9090/TCP"]), (5_100, vec![])] {
        let mut world = World::demo();
        world.listen(APP, 10, 9090).wait(3_000).close(APP, 10).wait(pause).listen(APP, 11, 9090).wait(1);
        world.check(&then);
        world.wait(5_000).check(&["undeclared-reachable 9090/TCP"]);
    }
}

#[test]
fn an_ephemeral_udp_server_whose_sockets_take_turns_is_told() {
    let mut world = World::demo();
    for cookie in 10..16 {
        let at = world.now;
        world.apply(opened(APP, cookie, Protocol::Udp, 40_000, "0.0.0.0", at)).close(APP, cookie - 1);
        world.wait(3_000);
    }
    let at = world.now;
    world.apply(scan(APP, at, &[(15, Protocol::Udp, 40_000)]));
    world.calls(APP, Protocol::Udp, 40_000, "10.1.0.3", 1).calls(APP, Protocol::Udp, 40_000, "10.1.0.4", 1);
    assert_eq!(world.listeners(), ["40000/UDP multi-port-app"]);
}

#[test]
fn the_end_of_the_netns_closes_everything_in_it() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).listen(APP, 11, 5000).wait(6_000);
    let at = world.now;
    world.apply(Input::NetnsGone { netns: NetnsId(APP), at });
    assert!(world.listeners().is_empty());
    world.check(&[]);
}

#[test]
fn a_close_waits_for_the_traffic_before_it() {
    let mut world = World::with(EngineOptions { traffic_drained: true, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![crate::world::app(), pod("curler").at("curler").into()]));
    world.listen(APP, 10, 9090).wait(10).close(APP, 10);
    assert_eq!(world.printed(9090), (1, 0));
    world.wait(10).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 3);
    let closed = world.said.iter().rev().find_map(|change| match change {
        Change::Listener(listener) => Some(listener.traffic.connections),
        _ => None,
    });
    assert_eq!((world.printed(9090), closed), ((1, 1), Some(3)));
    assert!(world.said.iter().any(|change| matches!(change, Change::Unwatch(_))));
}

/// A port that answered this caller 31 times, and closed after two seconds. `drained`: when its counters arrive.
fn short_and_called(caller: &str, drained: u64) -> World {
    let mut world = World::with(EngineOptions { traffic_drained: true, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![crate::world::app(), pod("curler").at("curler").into()]));
    world.apply(services(Vec::new())).apply(policies(Vec::new()));
    world.listen(APP, 10, 9090).wait(drained.min(2_000));
    if drained < 2_000 {
        world.calls(APP, Protocol::Tcp, 9090, caller, 31).wait(2_000 - drained).close(APP, 10);
    } else {
        world.close(APP, 10).wait(drained - 2_000).calls(APP, Protocol::Tcp, 9090, caller, 31);
    }
    world
}

#[test]
fn what_lived_shorter_than_the_grace_time_and_was_called_is_a_finding() {
    let cases = [("10.1.0.3", "undeclared-active"), ("203.0.113.9", "undeclared-external")];
    for (caller, code) in cases {
        for drained in [0, 1_000, 1_999, 2_000, 2_500, 4_000] {
            let mut world = short_and_called(caller, drained);
            world.wait(10_000).check(&[]);
            let told = world.told(code);
            assert_eq!(told.first(), Some(&FindingState::Open), "{caller} {drained}: {told:?}");
            assert_eq!(told.iter().filter(|state| **state == FindingState::Resolved).count(), 1, "{told:?}");
            assert_eq!(told.last(), Some(&FindingState::Resolved), "{caller} {drained}");
            let calls = world.said.iter().rev().find_map(|change| match change {
                Change::Finding(finding) => Some(finding.traffic.connections),
                _ => None,
            });
            assert_eq!(calls, Some(31), "{caller} {drained}");
            assert_eq!(world.printed(9090).1, 1);
            assert_eq!(world.engine.counts().totals.short_lived, 1);
        }
    }
    // Neither the node nor the pod itself makes it one, and neither does a declared port.
    for caller in ["10.1.0.1", "10.1.0.2"] {
        let mut world = short_and_called(caller, 2_500);
        world.wait(10_000);
        assert!(!world.said.iter().any(|change| matches!(change, Change::Finding(_))), "{caller}");
    }
}

#[test]
fn a_call_cuts_the_grace_time_short() {
    let mut world = World::demo();
    world.apply(services(Vec::new())).apply(policies(Vec::new()));
    world.listen(APP, 10, 9090).wait(1_000).check(&[]);
    world.calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1).check(&["undeclared-active 9090/TCP"]);
    world.listen(APP, 11, 8080).calls(APP, Protocol::Tcp, 8080, "10.1.0.3", 1);
    world.check(&["undeclared-active 9090/TCP"]);
}

#[test]
fn a_call_waits_for_the_grace_time_while_a_service_that_explains_it_may_be_listed_yet() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1);
    world.wait(4_900).check(&[]);
    world.wait(200).check(&["undeclared-active 9090/TCP"]);
}

#[test]
fn the_last_calls_count_although_the_pod_was_deleted_before_they_were_drained() {
    let mut world = World::with(EngineOptions { traffic_drained: true, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![crate::world::app(), pod("curler").at("curler").into()]));
    world.listen(APP, 10, 9090).wait(2_000).close(APP, 10);
    world.apply(pods(vec![pod("curler").at("curler").into()])).wait(500);
    world.calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 31).wait(10_000);
    assert_eq!(world.told("undeclared-active"), [FindingState::Open, FindingState::Resolved]);
}

#[test]
fn a_worse_caller_in_the_last_moments_raises_the_code_before_the_end() {
    let mut world = short_and_called("10.1.0.3", 1_000);
    world.calls(APP, Protocol::Tcp, 9090, "203.0.113.9", 1).wait(10_000);
    assert_eq!(world.told("undeclared-active"), [FindingState::Open]);
    assert_eq!(world.told("undeclared-external"), [FindingState::Open, FindingState::Resolved]);
    assert_eq!(world.printed(9090), (1, 1));
}

#[test]
fn a_close_does_not_wait_for_ever() {
    let mut world = World::with(EngineOptions { traffic_drained: true, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![crate::world::app()]));
    world.listen(APP, 10, 9090).wait(10).close(APP, 10).wait(3_100);
    assert_eq!(world.printed(9090), (1, 1));
}

#[test]
fn an_ephemeral_udp_port_that_is_declared_no_more_is_unproven() {
    let declaring =
        || pod("app").at("app").container("app", ContainerKind::Regular, &[(40_000, Protocol::Udp)]);
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![declaring().into()]));
    world.apply(opened(APP, 10, Protocol::Udp, 40_000, "0.0.0.0", world.now)).wait(6_000);
    assert_eq!(world.listeners(), ["40000/UDP app"]);
    world.apply(pods(vec![pod("app").at("app").into()])).wait(6_000).check(&[]);
    assert!(world.listener().unproven);
    assert_eq!(world.printed(40_000), (2, 0));
    world.close(APP, 10).wait(1_000);
    assert_eq!(world.printed(40_000), (2, 1));
}

#[test]
fn an_ephemeral_range_that_is_learned_late_withdraws_the_finding() {
    let mut world = World::new();
    world.apply(pods(vec![pod("aa-bb").uid("aa-bb").at("app").into()]));
    let mut socket = opened(APP, 10, Protocol::Udp, 40_000, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = Some(process("resolver", Some("/kubepods/podaa-bb/0123")));
    }
    world.apply(socket).wait(9_000).check(&["undeclared-reachable 40000/UDP"]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).check(&[]);
    assert!(world.listener().unproven);
    assert!(world.engine.counts().findings.is_empty());
}

#[test]
fn a_host_network_pod_that_leaves_before_its_process_takes_its_listeners_along() {
    let mut world = World::new();
    world.apply(host()).apply(pods(vec![pod("proxy").uid("aa-bb").host_network().into()]));
    let mut socket = opened(HOST, 11, Protocol::Tcp, 9100, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = Some(process("node_exporter", Some("/kubepods/podaa-bb/0123")));
    }
    world.apply(socket).wait(6_000).check(&["undeclared-host 9100/TCP"]);
    world.apply(pods(Vec::new())).wait(100_000).check(&[]);
    assert!(world.listeners().is_empty());
    assert_eq!(world.printed(9100), (1, 1));
}

#[test]
fn loopback_only_is_worth_a_note() {
    let mut world = World::demo();
    for (cookie, port, address) in [(10, 6000, "127.0.0.53"), (11, 6001, "::1")] {
        let at = world.now;
        world.apply(opened(APP, cookie, Protocol::Tcp, port, address, at));
    }
    world.wait(6_000).check(&["undeclared-loopback 6000/TCP", "undeclared-loopback 6001/TCP"]);
}

#[test]
fn a_host_network_pod_beside_host_daemons() {
    let mut world = World::new();
    world.apply(host()).apply(pods(vec![pod("proxy").uid("aa-bb").host_network().into()]));
    world.listen(HOST, 10, 22);
    let at = world.now;
    let mut mine = opened(HOST, 11, Protocol::Tcp, 9100, "0.0.0.0", at);
    if let Input::SocketOpened(socket) = &mut mine {
        let cgroup = "/kubepods.slice/kubepods-podaa_bb.slice/cri-containerd-0123.scope";
        socket.process = Some(process("node_exporter", Some(cgroup)));
    }
    world.apply(mine).wait(6_000);
    assert_eq!(world.listeners(), ["9100/TCP proxy"]);
    world.check(&["undeclared-host 9100/TCP"]);
}
