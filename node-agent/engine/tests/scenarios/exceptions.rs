//! Exceptions: what they suppress, for how long, and which findings open again.

use std::sync::Arc;

use portolan_engine::model::exception::{Match, Pattern, PortRange, Rule};
use portolan_engine::model::finding::{FindingState, Suppression};
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::Exposure;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::options::{AnnotationSource, EngineOptions};
use portolan_engine::model::pod::ContainerKind::{Ephemeral, Regular};
use portolan_engine::model::pod::Pod;
use proptest::prelude::*;

use crate::world::{
    APP, CURLER, World, app, call, cgroup, host, ms, netns, opened, opened_in, pod, pods, process,
};

const REACHABLE: &str = "undeclared-reachable 9090/TCP";

fn patterns(text: &str) -> Vec<Pattern> {
    vec![Pattern(text.to_owned())]
}

fn ports(text: &str) -> Vec<PortRange> {
    PortRange::parse(text).into_iter().collect()
}

fn of_app() -> Match {
    Match { namespace: patterns("demo"), pod: patterns("multi-port-*"), ..Match::default() }
}

fn rule(name: &str, matches: Match) -> Rule {
    let suppression = Arc::new(Suppression { rule: name.to_owned(), reason: "known".to_owned() });
    Rule { suppression, matches, expires: None }
}

fn exceptions(rules: Vec<Rule>) -> Input {
    Input::Exceptions(rules.into_iter().map(Arc::new).collect())
}

/// The states of all findings, with the suppressing rule if there is one.
fn states(world: &World) -> Vec<String> {
    let mut lines: Vec<String> = world
        .engine
        .findings()
        .map(|f| {
            let by = f.suppressed_by.as_ref().map(|by| format!(" by {}", by.rule)).unwrap_or_default();
            format!("{} {:?}{by}", f.code.as_str(), f.state)
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_rule_suppresses_what_it_matches_and_gives_it_back_when_it_goes() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).check(&[REACHABLE]);
    world.apply(exceptions(vec![rule("metrics", Match { port: ports("9090/TCP"), ..of_app() })]));
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by metrics"]);
    world.listen(APP, 11, 9091).wait(6_000);
    assert_eq!(states(&world), ["undeclared-reachable Open", "undeclared-reachable Suppressed by metrics"]);
    world.close(APP, 11).wait(6_000);
    world.apply(exceptions(Vec::new())).check(&[REACHABLE]);
    assert_eq!(states(&world), ["undeclared-reachable Open"]);
    let counts = world.engine.counts();
    assert_eq!((counts.findings.len(), counts.suppressed.len()), (1, 0));
}

#[test]
fn a_rule_that_is_there_first_suppresses_from_the_beginning_and_is_told_once() {
    let mut world = World::demo();
    world.apply(exceptions(vec![rule("all", of_app())])).listen(APP, 10, 9090).wait(6_000);
    assert_eq!(world.told("undeclared-reachable"), [FindingState::Suppressed]);
    world.apply(exceptions(vec![rule("all", of_app())])).wait(10_000);
    assert_eq!(world.told("undeclared-reachable"), [FindingState::Suppressed], "the same rules again");
    let counts = world.engine.counts();
    assert_eq!((counts.findings.len(), counts.suppressed.values().sum::<u64>()), (0, 1));
    world.close(APP, 10).wait(6_000);
    assert_eq!(world.told("undeclared-reachable"), [FindingState::Suppressed, FindingState::Resolved]);
}

#[test]
fn worse_traffic_opens_a_finding_that_its_rule_does_not_cover() {
    let mut world = World::demo();
    let matches = Match { code: vec![FindingCode::UndeclaredReachable], ..of_app() };
    world.apply(exceptions(vec![rule("quiet", matches)])).listen(APP, 10, 9090).wait(6_000);
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by quiet"]);
    world.calls(APP, Tcp, 9090, "10.1.0.3", 1).wait(4_000);
    assert_eq!(states(&world), ["undeclared-active Open"]);
    world.apply(exceptions(vec![rule("any code", of_app())]));
    assert_eq!(states(&world), ["undeclared-active Suppressed by any code"]);
}

#[test]
fn a_socket_that_opens_up_is_not_covered_by_a_rule_for_loopback() {
    let mut world = World::demo();
    let matches = Match { exposure: vec![Exposure::Loopback], ..of_app() };
    world.apply(exceptions(vec![rule("local", matches)]));
    world.apply(opened(APP, 10, Tcp, 9090, "127.0.0.1", world.now)).wait(6_000);
    assert_eq!(states(&world), ["undeclared-loopback Suppressed by local"]);
    world.listen(APP, 11, 9090);
    assert_eq!(states(&world), ["undeclared-reachable Open"]);
}

#[test]
fn an_exception_ends_by_itself() {
    let mut world = World::demo();
    let ending = Rule { expires: Some(ms(60_000)), ..rule("for a minute", of_app()) };
    world.apply(exceptions(vec![ending.clone(), rule("udp", Match { protocol: vec![Udp], ..of_app() })]));
    world.listen(APP, 10, 9090).wait(6_000);
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by for a minute"]);
    assert_eq!(world.engine.exceptions(world.now), (2, 0));
    world.wait(60_000);
    assert_eq!(states(&world), ["undeclared-reachable Open"]);
    assert_eq!(world.told("undeclared-reachable"), [FindingState::Suppressed, FindingState::Open]);
    assert_eq!(world.engine.exceptions(world.now), (1, 1));
    world.apply(exceptions(vec![ending]));
    assert_eq!(states(&world), ["undeclared-reachable Open"], "told again, it is still over");
}

#[test]
fn the_first_rule_that_matches_is_named_and_the_next_takes_over() {
    let mut world = World::demo();
    let first = Rule { expires: Some(ms(60_000)), ..rule("first", of_app()) };
    world.apply(exceptions(vec![first, rule("second", of_app())])).listen(APP, 10, 9090).wait(6_000);
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by first"]);
    world.wait(60_000);
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by second"]);
    world.apply(exceptions(vec![rule("third", of_app()), rule("second", of_app())]));
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by third"]);
    world.apply(exceptions(vec![rule("second", of_app()), rule("third", of_app())]));
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by second"], "another order");
}

#[test]
fn labels_workloads_and_images_are_compared_as_they_are_now() {
    let labelled =
        |value: &str| -> Pod { pod("app").at("app").label("app", value).container("c", Regular, &[]).into() };
    let mut world = World::demo();
    let labels = [("app".to_owned(), patterns("web*"))].into();
    let matches = Match { labels, image: patterns("app:*"), container: patterns("c"), ..Match::default() };
    world.apply(pods(vec![labelled("web-1")])).apply(exceptions(vec![rule("web", matches)]));
    world.listen(APP, 10, 9090).wait(6_000);
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by web"]);
    world.apply(pods(vec![labelled("api")]));
    assert_eq!(states(&world), ["undeclared-reachable Open"]);
    world.apply(pods(vec![labelled("web")]));
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by web"]);
}

#[test]
fn a_process_that_runs_elsewhere_is_not_in_the_container_of_the_rule() {
    let mut world = World::demo();
    let shop = pod("app").at("app").container("app", Regular, &[]).container("debug", Ephemeral, &[]);
    let matches = Match { container: patterns("app"), ..Match::default() };
    world.apply(pods(vec![shop.into()])).apply(exceptions(vec![rule("app", matches)]));
    world.apply(opened_in(&cgroup("uid-app", "app"), APP, 10, 9090, world.now));
    world.apply(opened_in(&cgroup("uid-app", "debug"), APP, 11, 9091, world.now));
    world.apply(opened_in(&cgroup("uid-app", "unknown"), APP, 12, 9092, world.now)).wait(6_000);
    assert_eq!(
        states(&world),
        ["ephemeral-container Open", "undeclared-reachable Open", "undeclared-reachable Suppressed by app"]
    );
}

#[test]
fn a_process_is_compared_by_name_or_by_the_path_of_its_executable() {
    let mut world = World::demo();
    let matches = |text: &str| Match { process: patterns(text), ..of_app() };
    world.apply(exceptions(vec![rule("name", matches("python*"))])).listen(APP, 10, 9090).wait(6_000);
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by name"]);
    world.apply(exceptions(vec![rule("path", matches("/usr/bin/python*"))]));
    assert_eq!(states(&world), ["undeclared-reachable Open"], "its path is not known");
}

#[test]
fn a_socket_of_another_process_is_not_covered_by_what_the_first_is_called_or_runs_in() {
    for (place, name, then) in [
        ("app", "python3", ["Suppressed by container", "Suppressed by image", "Suppressed by name"]),
        ("app", "nc", ["Suppressed by container", "Suppressed by image", "Open"]),
        ("other", "python3", ["Open", "Open", "Suppressed by name"]),
        ("nowhere", "nc", ["Open", "Open", "Open"]),
    ] {
        let mut world = World::demo();
        let shop = pod("app").at("app").container("app", Regular, &[]);
        let shop = if place == "other" { shop.container("other", Regular, &[]) } else { shop };
        let container = Match { container: patterns("app"), ..Match::default() };
        let image = Match { image: patterns("app:1"), ..Match::default() };
        let name_of = Match { process: patterns("python3"), namespace: patterns("demo"), ..Match::default() };
        world.apply(pods(vec![shop.into()]));
        world.apply(opened_in(&cgroup("uid-app", "app"), APP, 10, 9090, world.now));
        let mut second = opened(APP, 11, Tcp, 9090, "10.1.0.2", world.now);
        if let Input::SocketOpened(socket) = &mut second {
            socket.process = Some(process(name, Some(&cgroup("uid-app", place))));
        }
        world.apply(second).wait(6_000);
        let rules = [("container", container), ("image", image), ("name", name_of)];
        for ((rule_name, matches), then) in rules.into_iter().zip(then) {
            world.apply(exceptions(vec![rule(rule_name, matches)]));
            assert_eq!(states(&world), [format!("undeclared-reachable {then}")], "{name} in {place}");
        }
    }
}

#[test]
fn a_rule_must_cover_every_process_that_can_be_reached_and_no_other() {
    for (addresses, then) in [
        (["127.0.0.1", "10.1.0.2"], "undeclared-reachable Open"),
        (["10.1.0.2", "127.0.0.1"], "undeclared-reachable Suppressed by redis"),
        (["10.1.0.2", "10.1.0.7"], "undeclared-reachable Open"),
        (["127.0.0.1", "127.0.0.2"], "undeclared-loopback Open"),
    ] {
        let mut world = World::demo();
        let redis = Match { process: patterns("redis"), ..of_app() };
        world.apply(exceptions(vec![rule("redis", redis)]));
        for ((cookie, name), address) in [(10, "redis"), (11, "nc")].into_iter().zip(addresses) {
            let mut socket = opened(APP, cookie, Tcp, 6_379, address, world.now);
            if let Input::SocketOpened(socket) = &mut socket {
                socket.process = Some(process(name, None));
            }
            world.apply(socket);
        }
        world.wait(6_000);
        assert_eq!(states(&world), [then], "{addresses:?}");
    }
}

#[test]
fn what_belongs_to_no_pod_is_matched_only_by_rules_that_name_none() {
    let mut world = World::demo();
    world.apply(netns(7, "stray", "10.1.0.7/24")).listen(7, 10, 9090).wait(9_000);
    assert_eq!(states(&world), ["unattributed Open"]);
    let any = Match { namespace: patterns("*"), ..Match::default() };
    world.apply(exceptions(vec![rule("pods", any)]));
    assert_eq!(states(&world), ["unattributed Open"]);
    let by_port = Match { port: ports("9090"), ..Match::default() };
    world.apply(exceptions(vec![rule("port", by_port)]));
    assert_eq!(states(&world), ["unattributed Suppressed by port"]);
}

#[test]
fn known_ports_make_no_storm_and_a_storm_may_be_known_itself() {
    let mut world = World::with(EngineOptions { storm_ports: 4, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
    (0..6).for_each(|n| {
        world.listen(APP, 100 + u64::from(n), 9_000 + n);
    });
    world.wait(6_000);
    assert_eq!(states(&world), ["port-storm Open"]);
    let storm = Match { code: vec![FindingCode::PortStorm], ..of_app() };
    world.apply(exceptions(vec![rule("storm", storm.clone())]));
    assert_eq!(states(&world), ["port-storm Suppressed by storm"]);
    world.apply(exceptions(vec![rule("ports", Match { port: ports("9000-9003"), ..of_app() })]));
    let known = "undeclared-reachable Suppressed by ports";
    let open = "undeclared-reachable Open";
    assert_eq!(states(&world), [open, open, known, known, known, known]);
    world.apply(exceptions(Vec::new()));
    assert_eq!(states(&world), ["port-storm Open"]);
}

#[test]
fn a_declaration_that_nobody_serves_may_be_known_too() {
    let mut world = World::demo();
    let stale = Match { code: vec![FindingCode::StaleDeclaration], port: ports("8080"), ..of_app() };
    world.apply(crate::world::scan(APP, world.now, &[])).wait(70_000);
    assert_eq!(states(&world), ["stale-declaration Open"]);
    world.apply(exceptions(vec![rule("not yet", stale)]));
    assert_eq!(states(&world), ["stale-declaration Suppressed by not yet"]);
    world.apply(exceptions(Vec::new()));
    assert_eq!(states(&world), ["stale-declaration Open"]);
}

fn annotated(source: AnnotationSource) -> World {
    let mut world = World::with(EngineOptions { exception_annotations: source, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24"));
    let allowed = pod("app")
        .at("app")
        .annotation("portolan.dev/allow-ports", "9090/TCP")
        .annotation("portolan.dev/allow-reason", "metrics");
    world.apply(pods(vec![allowed.container("c", Regular, &[]).container("debug", Ephemeral, &[]).into()]));
    world.listen(APP, 10, 9090).wait(6_000);
    world
}

fn namespace(ports: Option<&str>) -> Input {
    let annotations = [("allow-ports", ports), ("allow-reason", Some("agreed"))];
    let annotations = annotations
        .into_iter()
        .filter_map(|(key, value)| Some((format!("portolan.dev/{key}"), value?.to_owned())))
        .collect();
    let namespace = Namespace { name: "demo".to_owned(), labels: [].into(), annotations };
    Input::Namespaces(Listing::Changed(Box::new(namespace)))
}

#[test]
fn annotations_count_only_where_the_operator_lets_them() {
    for (source, by_pod, by_namespace) in [
        (AnnotationSource::Off, "undeclared-reachable Open", "undeclared-reachable Open"),
        (
            AnnotationSource::Namespace,
            "undeclared-reachable Open",
            "undeclared-reachable Suppressed by annotation/namespace",
        ),
        (
            AnnotationSource::Pod,
            "undeclared-reachable Suppressed by annotation/pod",
            "undeclared-reachable Suppressed by annotation/namespace",
        ),
    ] {
        let mut world = annotated(source);
        assert_eq!(states(&world), [by_pod], "{source:?}");
        world.apply(namespace(Some("9000-9100")));
        assert_eq!(states(&world), [by_namespace], "{source:?}");
        world.apply(Input::Namespaces(Listing::Unavailable));
        assert_eq!(states(&world), [by_pod], "{source:?}");
        world
            .apply(opened_in(&cgroup("uid-app", "debug"), APP, 11, 9090, world.now))
            .close(APP, 10)
            .wait(6_000);
        assert_eq!(states(&world), ["ephemeral-container Open"], "a debug session is never agreed on");
        world.calls(APP, Tcp, 9090, "10.1.0.3", 1).wait(5_000);
        assert_eq!(states(&world), ["undeclared-active Open"], "nor is who calls it");
        world.listen_in(&cgroup("uid-app", "c"), APP, 12, 9090);
        assert_eq!(states(&world), ["undeclared-active Open"], "nor does the pod's own process cover it");
    }
}

#[test]
fn an_annotation_that_is_wrong_allows_nothing_and_is_counted_once() {
    let mut world = annotated(AnnotationSource::Namespace);
    let lost = |world: &World| {
        world.engine.counts().totals.lost.get("exception-annotation-invalid").copied().unwrap_or_default()
    };
    world.apply(namespace(Some("9090;80"))).apply(namespace(Some("9090;80")));
    assert_eq!((states(&world), lost(&world)), (vec!["undeclared-reachable Open".to_owned()], 1));
    world.apply(namespace(None));
    assert_eq!(lost(&world), 1, "a reason without ports, as wrong as before");
    world.apply(namespace(Some("9090")));
    assert_eq!(states(&world), ["undeclared-reachable Suppressed by annotation/namespace"]);
    world.apply(namespace(Some("x")));
    assert_eq!((states(&world), lost(&world)), (vec!["undeclared-reachable Open".to_owned()], 2));
}

/// Sets of rules, applied one after the other; the last one holds.
fn sets() -> impl Strategy<Value = Vec<Vec<Rule>>> {
    let matches = prop_oneof![
        Just(of_app()),
        Just(Match { port: ports("9000-9002"), ..Match::default() }),
        Just(Match { code: vec![FindingCode::UndeclaredActive], ..Match::default() }),
        Just(Match { protocol: vec![Udp], ..of_app() }),
        Just(Match { namespace: patterns("other"), ..Match::default() }),
        Just(Match { process: patterns("py*"), port: ports("9001"), ..Match::default() }),
    ];
    let one = (matches, proptest::option::of(1_000..9_000_u64));
    let set = proptest::collection::vec(one, 0..4);
    proptest::collection::vec(set, 1..4).prop_map(|sets| {
        let named = |(n, (matches, expires)): (usize, (Match, Option<u64>))| Rule {
            expires: expires.map(ms),
            ..rule(&format!("rule-{n}"), matches)
        };
        sets.into_iter().map(|set| set.into_iter().enumerate().map(named).collect()).collect()
    })
}

fn rest(inputs: Vec<Input>) -> Vec<String> {
    let mut world = World::with(EngineOptions { storm_ports: 3, ..EngineOptions::default() });
    world.now = BootTime(3_000_000_000);
    for input in inputs {
        world.apply(input).wait(1);
    }
    world.wait(100_000);
    let mut lines: Vec<String> = world
        .engine
        .findings()
        .map(|f| format!("{} {} {:?} {:?}", f.id, f.code.as_str(), f.state, f.suppressed_by))
        .collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_and_facts_in_any_order_end_in_the_same_state(
        sets in sets(),
        order in Just((0..14_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut facts = vec![
            host(),
            netns(APP, "app", "10.1.0.2/24"),
            netns(CURLER, "curler", "10.1.0.3/24"),
            pods(vec![app(), pod("curler").at("curler").into()]),
        ];
        facts.extend((0..5_u16).map(|n| opened(APP, 10 + u64::from(n), Tcp, 9_000 + n, "0.0.0.0", ms(1_000))));
        facts.push(opened(CURLER, 20, Tcp, 9_001, "127.0.0.1", ms(1_000)));
        facts.push(call(APP, Tcp, 9_000, "10.1.0.3", 1, ms(1_500)));
        let told = sets.into_iter().map(exceptions).collect::<Vec<_>>();
        let straight: Vec<Input> = facts.iter().cloned().chain(told.last().cloned()).collect();
        // The sets keep their order among the shuffled facts.
        let mut left = told.into_iter();
        let mut shuffled: Vec<Input> =
            order.iter().filter_map(|n| facts.get(*n).cloned().or_else(|| left.next())).collect();
        shuffled.extend(left);
        prop_assert_eq!(rest(shuffled), rest(straight));
    }
}
