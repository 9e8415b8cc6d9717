//! After a restart of the agent a finding keeps the severity that traffic gave it, and its beginning.

use portolan_engine::model::change::Change;
use portolan_engine::model::finding::FindingState;
use portolan_engine::model::fingerprint::parse;
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::model::pod::Pod;
use portolan_engine::model::reach::Reach;
use portolan_engine::model::remembered::RememberedFinding;
use proptest::prelude::*;

use crate::world::{APP, CURLER, World, app, call, host, ms, netns, opened, pod, pods, scan};

const OUTSIDER: &str = "198.51.100.7";
const RESTART: u64 = 100_000;

/// A first run in which `caller` called the port 9090, and what it leaves behind.
fn first_run(caller: &str) -> (Vec<RememberedFinding>, BootTime) {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Tcp, 9090, caller, 3).wait(4_000);
    (world.engine.findings_to_remember(), world.finding().first_seen)
}

/// What the sources of a second run report: the same pods, and a scan that finds the socket.
fn facts() -> Vec<Input> {
    vec![
        host(),
        netns(APP, "app", "10.1.0.2/24"),
        netns(CURLER, "curler", "10.1.0.3/24"),
        pods(vec![app(), pod("curler").at("curler").into()]),
        scan(APP, ms(RESTART), &[(10, Tcp, 9090)]),
    ]
}

/// A second run that gets these facts a moment after it started.
fn second_run(inputs: Vec<Input>) -> World {
    let mut world = World::new();
    world.now = ms(RESTART);
    for input in inputs {
        world.apply(input).wait(1);
    }
    world.wait(6_000);
    world
}

fn restarted(remembered: Vec<RememberedFinding>, facts: Vec<Input>) -> World {
    second_run([vec![Input::Remembered(remembered)], facts].concat())
}

#[test]
fn the_severity_and_the_beginning_stay_without_another_call() {
    for (caller, code, words) in [
        ("10.1.0.3", "undeclared-active", "it was called before the agent started: declare it"),
        (OUTSIDER, "undeclared-external", "it was called before the agent started from outside the cluster:"),
    ] {
        let (remembered, first_seen) = first_run(caller);
        let world = restarted(remembered, facts());
        let finding = world.finding();
        assert_eq!((finding.code.as_str(), finding.first_seen), (code, first_seen));
        assert!(finding.message.contains(words), "{}", finding.message);
        assert_eq!((finding.traffic.connections, finding.traffic.peers.len()), (0, 0));
        assert_eq!(world.told(code), [FindingState::Open], "it is printed once, as open");
    }
}

#[test]
fn what_is_seen_now_counts_where_it_is_farther() {
    let (remembered, first_seen) = first_run("10.1.0.3");
    let mut world = restarted(remembered, facts());
    world.calls(APP, Tcp, 9090, OUTSIDER, 1).wait(4_000);
    let finding = world.finding();
    assert_eq!((finding.code.as_str(), finding.first_seen), ("undeclared-external", first_seen));
    assert!(finding.message.contains("connected once since the agent began to count"), "{}", finding.message);
    let (remembered, _) = first_run(OUTSIDER);
    let mut world = restarted(remembered, facts());
    world.calls(APP, Tcp, 9090, "10.1.0.3", 1).wait(4_000);
    world.check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn a_second_restart_keeps_it_too_even_before_the_port_is_found_again() {
    let (remembered, first_seen) = first_run(OUTSIDER);
    let mut world = World::new();
    world.apply(Input::Remembered(remembered.clone()));
    assert_eq!(world.engine.findings_to_remember(), remembered);
    let world = restarted(world.engine.findings_to_remember(), facts());
    assert_eq!(world.engine.findings_to_remember(), remembered);
    let world = restarted(world.engine.findings_to_remember(), facts());
    assert_eq!(
        (world.finding().code.as_str(), world.finding().first_seen),
        ("undeclared-external", first_seen)
    );
}

#[test]
fn another_pod_netns_or_port_is_another_finding() {
    let (remembered, _) = first_run(OUTSIDER);
    let replace = |index: usize, input: Input| {
        let mut facts = facts();
        if let Some(fact) = facts.get_mut(index) {
            *fact = input;
        }
        facts
    };
    let of_uid = |uid: &str| pods(vec![pod("multi-port-app").uid(uid).at("app").into()]);
    let reused = [
        replace(3, of_uid("another")),
        replace(4, scan(APP, ms(RESTART), &[(10, Tcp, 9091)])),
        replace(4, opened(APP, 10, Udp, 9090, "0.0.0.0", ms(RESTART))),
    ];
    for facts in reused {
        let finding = restarted(remembered.clone(), facts).finding();
        assert_eq!(finding.code.as_str(), "undeclared-reachable");
        assert!(finding.first_seen >= ms(RESTART));
    }
    let elsewhere: Vec<RememberedFinding> = remembered
        .iter()
        .map(|finding| RememberedFinding {
            port: finding.port.map(|mut port| {
                port.netns = NetnsId(77);
                port
            }),
            ..*finding
        })
        .collect();
    restarted(elsewhere, facts()).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn a_port_that_is_declared_now_makes_no_finding() {
    let (remembered, _) = first_run(OUTSIDER);
    let declaring: Pod = pod("multi-port-app").at("app").container("app", Regular, &[(9090, Tcp)]).into();
    let mut facts = facts();
    facts.push(pods(vec![declaring, pod("curler").at("curler").into()]));
    let mut world = restarted(remembered, facts);
    world.check(&[]);
    world.apply(pods(vec![app(), pod("curler").at("curler").into()])).wait(6_000);
    world.check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn a_port_that_closes_is_forgotten() {
    let (remembered, _) = first_run(OUTSIDER);
    let mut world = restarted(remembered, facts());
    world.close(APP, 10).wait(10_000);
    world.check(&[]);
    assert_eq!(world.engine.findings_to_remember(), []);
    world.listen(APP, 11, 9090).wait(6_000);
    world.check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn what_nothing_claims_is_forgotten_after_ten_minutes() {
    let (remembered, _) = first_run(OUTSIDER);
    let mut late = World::new();
    late.now = ms(RESTART);
    late.apply(Input::Remembered(remembered.clone())).wait(590_000);
    assert_eq!(late.engine.findings_to_remember(), remembered);
    late.wait(11_000);
    assert_eq!(late.engine.findings_to_remember(), []);
    let mut claimed = restarted(remembered, facts());
    claimed.wait(3_600_000);
    claimed.check(&["stale-declaration", "undeclared-external 9090/TCP"]);
}

#[test]
fn a_server_on_an_ephemeral_udp_port_stays_one() {
    let mut world = World::demo();
    world.apply(opened(APP, 10, Udp, 40_000, "0.0.0.0", ms(1_000)));
    world.calls(APP, Udp, 40_000, "10.1.0.3", 2).wait(10_000);
    world.check(&["undeclared-active 40000/UDP"]);
    let mut facts = facts();
    facts.push(scan(APP, ms(RESTART), &[(10, Udp, 40_000)]));
    restarted(world.engine.findings_to_remember(), facts.clone()).check(&["undeclared-active 40000/UDP"]);
    restarted(Vec::new(), facts).check(&[]);
}

#[test]
fn a_finding_that_is_not_about_a_served_port_keeps_its_beginning() {
    let mut world = World::demo();
    world.apply(scan(APP, ms(1_000), &[])).wait(70_000);
    world.check(&["stale-declaration"]);
    let began = world.finding().first_seen;
    let mut facts = facts();
    facts.pop();
    facts.push(scan(APP, ms(RESTART), &[]));
    let remembered = world.engine.findings_to_remember();
    let mut world = restarted(remembered.clone(), facts.clone());
    world.wait(70_000);
    assert_eq!(world.finding().first_seen, began);
    // The same if it is told late, and then it is reported.
    let mut world = second_run(facts);
    world.wait(70_000);
    assert!(world.finding().first_seen > began);
    world.apply(Input::Remembered(remembered));
    assert_eq!(world.finding().first_seen, began);
    assert_eq!(world.told("stale-declaration").len(), 2);
}

#[test]
fn more_than_fits_is_counted() {
    let (remembered, _) = first_run(OUTSIDER);
    let many: Vec<RememberedFinding> =
        (0..20).flat_map(|id| remembered.iter().map(move |one| RememberedFinding { id, ..*one })).collect();
    let mut world = World::with(EngineOptions { max_listeners: 8, ..EngineOptions::default() });
    world.apply(Input::Remembered(many));
    assert_eq!(world.engine.findings_to_remember().len(), 8);
    let lost = world.said.iter().any(
        |change| matches!(change, Change::Loss(loss) if loss.reason == "remembered-findings-full" && loss.count == 12),
    );
    assert!(lost, "{:?}", world.said);
}

#[test]
fn counts_say_since_when_they_run() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    assert_eq!(world.finding().traffic.since, Some(ms(1_000)), "its opening was seen");
    let world = restarted(Vec::new(), facts());
    let since = world.finding().traffic.since;
    assert!(since >= Some(ms(RESTART)) && since < Some(ms(RESTART + 100)), "{since:?}");
    let mut world = World::with(EngineOptions { counts_traffic: false, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()])).listen(APP, 10, 9090).wait(6_000);
    assert_eq!(world.finding().traffic.since, None, "nothing is counted");
}

#[test]
fn ids_and_reaches_survive_being_written() {
    let world = first_run(OUTSIDER).0;
    let ids = World::demo().listen(APP, 10, 9090).wait(6_000).finding().id.clone();
    assert_eq!(world.first().map(|one| one.id), parse(&ids));
    for reach in Reach::ALL {
        assert_eq!(Reach::parse(reach.as_str()), Some(reach));
    }
    assert_eq!(Reach::parse(""), None);
}

/// Everything that reports show of the findings about served ports.
fn lines(world: &World) -> Vec<String> {
    let served = world.engine.findings().filter(|finding| finding.listener.is_some());
    let lines = served.map(|finding| {
        format!("{} {:?} {:?} {}", finding.id, finding.code, finding.first_seen, finding.message)
    });
    lines.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_not_matter_when_it_is_told(
        order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
        twice in any::<bool>(),
        caller in prop_oneof![Just("10.1.0.3"), Just(OUTSIDER), Just("10.1.0.1")],
    ) {
        let (remembered, _) = first_run(caller);
        let mut all = facts();
        all.push(Input::Remembered(remembered.clone()));
        all.push(call(APP, Tcp, 9090, "10.1.0.3", 1, ms(RESTART)));
        all.push(opened(CURLER, 20, Tcp, 7070, "0.0.0.0", ms(RESTART)));
        let mut shuffled: Vec<Input> = order.iter().filter_map(|index| all.get(*index).cloned()).collect();
        if twice {
            shuffled.push(Input::Remembered(remembered));
        }
        let settle = |inputs| {
            let mut world = second_run(inputs);
            world.wait(100_000);
            let mut known = world.engine.findings_to_remember();
            known.retain(|finding| finding.port.is_some());
            known.sort_by_key(|finding| finding.id);
            (lines(&world), known)
        };
        prop_assert_eq!(settle(shuffled), settle(all));
    }
}
