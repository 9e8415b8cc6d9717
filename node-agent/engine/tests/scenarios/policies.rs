//! What NetworkPolicies mean for a port's finding.

use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::LabelOperator::{
    self, DoesNotExist, Exists, In, NotIn, Unknown as Strange,
};
use portolan_engine::model::network_policy::NetworkPolicy;
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::model::policy::PolicyVerdict::{self, Blocked, NotIsolated, Open, Unknown};

use crate::objects::{admits, admitted, for_app, named, number, policies, policy, where_label};
use crate::world::{APP, HOST, PodBuilder, World, cgroup, host, netns, pod, told};

/// A pod that declares 8080 by name and serves 9090.
fn web() -> PodBuilder {
    let pod = pod("app").uid("aa-bb").at("app").label("app", "web");
    pod.container("app", Regular, &[]).named_port("http", 8080, Tcp)
}

fn world() -> World {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", web()));
    world.listen(APP, 10, 9090).wait(6_000);
    world
}

fn verdict(all: Vec<NetworkPolicy>) -> PolicyVerdict {
    let mut world = world();
    world.apply(policies(all));
    world.finding().policy.verdict
}

#[test]
fn never_told_or_forbidden_is_unknown() {
    let mut world = world();
    assert_eq!(world.finding().policy.verdict, Unknown);
    world.apply(policies(vec![policy("deny")]));
    assert_eq!(world.finding().policy.verdict, Blocked);
    world.apply(Input::NetworkPolicies(Listing::Unavailable));
    assert_eq!(world.finding().policy.verdict, Unknown);
    world.check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn no_policy_and_one_that_selects_nothing_isolate_nobody() {
    assert_eq!(verdict(Vec::new()), NotIsolated);
    assert_eq!(verdict(vec![for_app(policy("other"), "other")]), NotIsolated);
    let mut elsewhere = policy("elsewhere");
    elsewhere.namespace = "other".to_owned();
    assert_eq!(verdict(vec![elsewhere]), NotIsolated);
}

#[test]
fn a_policy_without_rules_admits_nothing_and_an_empty_rule_everything() {
    assert_eq!(verdict(vec![policy("deny")]), Blocked);
    assert_eq!(verdict(vec![admits(policy("all"), Vec::new())]), Open);
}

#[test]
fn ports_by_protocol_number_and_range() {
    let by = |port| verdict(vec![admits(policy("one"), vec![port])]);
    assert_eq!(by(admitted(Tcp, None, None)), Open);
    assert_eq!(by(admitted(Udp, None, None)), Blocked);
    assert_eq!(by(admitted(Tcp, Some(number(8080)), None)), Blocked);
    assert_eq!(by(admitted(Udp, Some(number(9090)), None)), Blocked);
    assert_eq!(by(admitted(Tcp, Some(number(9091)), Some(9999))), Blocked);
    let mut open = world();
    let range = admits(policy("range"), vec![admitted(Tcp, Some(number(9000)), Some(9090))]);
    open.apply(policies(vec![policy("deny"), range]));
    let finding = open.finding();
    assert_eq!((finding.policy.verdict, finding.code.as_str()), (Open, "undeclared-explained"));
    assert_eq!(finding.policy.policies, ["demo/range"], "only those that admit it");
}

#[test]
fn a_named_port_is_that_of_the_container_that_declares_it() {
    let by = |name| verdict(vec![admits(policy("one"), vec![admitted(Tcp, Some(named(name)), None)])]);
    assert_eq!(by("http"), Blocked, "8080 is admitted, 9090 is not");
    assert_eq!(by("nobody"), Blocked, "a name that no container declares admits nothing");
}

#[test]
fn several_policies_add_up() {
    let one = admits(policy("one"), vec![admitted(Tcp, Some(number(8080)), None)]);
    let two = admits(policy("two"), vec![admitted(Tcp, None, None)]);
    assert_eq!(verdict(vec![one.clone()]), Blocked);
    assert_eq!(verdict(vec![one.clone(), two]), Open);
    let mut world = world();
    world.apply(policies(vec![policy("deny"), one]));
    assert_eq!(world.finding().policy.policies, ["demo/deny", "demo/one"], "all that isolate it");
}

#[test]
fn selectors_with_expressions() {
    let by = |key: &str, operator: LabelOperator, values: &[&str]| {
        verdict(vec![where_label(policy("one"), key, operator, values)])
    };
    assert_eq!(by("app", In, &["db", "web"]), Blocked);
    assert_eq!(by("app", In, &["db"]), NotIsolated);
    assert_eq!(by("app", In, &[]), NotIsolated);
    assert_eq!(by("app", NotIn, &["db"]), Blocked);
    assert_eq!(by("app", NotIn, &["web"]), NotIsolated);
    assert_eq!(by("tier", NotIn, &["db"]), Blocked, "a pod without the label");
    assert_eq!(by("app", Exists, &[]), Blocked);
    assert_eq!(by("tier", Exists, &[]), NotIsolated);
    assert_eq!(by("tier", DoesNotExist, &[]), Blocked);
    assert_eq!(by("app", DoesNotExist, &[]), NotIsolated);
    let both = where_label(for_app(policy("one"), "web"), "tier", Exists, &[]);
    assert_eq!(verdict(vec![both]), NotIsolated, "every part must hold");
}

#[test]
fn a_selector_that_nobody_understands_makes_it_unknown_unless_another_policy_decides() {
    let strange = || where_label(policy("strange"), "app", Strange, &["web"]);
    assert_eq!(verdict(vec![strange()]), Unknown);
    assert_eq!(verdict(vec![strange(), policy("deny")]), Unknown, "the strange one may admit it");
    assert_eq!(verdict(vec![strange(), admits(policy("all"), Vec::new())]), Open);
    let other = where_label(for_app(policy("other"), "db"), "app", Strange, &[]);
    assert_eq!(verdict(vec![other]), NotIsolated, "its labels do not fit in any case");
}

#[test]
fn a_host_network_pod_is_out_of_their_reach() {
    let mut world = World::new();
    world.apply(host()).apply(policies(vec![policy("deny")]));
    world.apply(told("kubernetes", pod("proxy").uid("aa-bb").host_network().container("c", Regular, &[])));
    world.listen_in(&cgroup("aa-bb", "c"), HOST, 10, 9100).wait(6_000).check(&["undeclared-host 9100/TCP"]);
    assert_eq!(world.finding().policy.verdict, Unknown);
}

#[test]
fn a_change_of_policies_is_told_once_also_where_the_code_stays() {
    let mut world = world();
    world.apply(policies(Vec::new()));
    assert_eq!(world.told("undeclared-reachable").len(), 2, "unknown, then not-isolated");
    world.apply(policies(Vec::new()));
    assert_eq!(world.told("undeclared-reachable").len(), 2);
    assert!(world.finding().message.contains("no NetworkPolicy isolates the pod"));
}

#[test]
fn a_finding_names_some_of_hundreds_of_policies_and_counts_the_others() {
    let many = |admit: bool| {
        let made = (0..200).map(|index| policy(&format!("{index:03}-{}", "p".repeat(244))));
        made.map(|policy| if admit { admits(policy, Vec::new()) } else { policy }).collect()
    };
    for (admit, verdict) in [(false, Blocked), (true, Open)] {
        let mut world = world();
        world.apply(policies(many(admit)));
        let finding = world.finding();
        assert_eq!(finding.policy.verdict, verdict);
        assert_eq!((finding.policy.policies.len(), finding.policy.unnamed), (16, 184));
        assert_eq!(finding.message.contains("with 199 more admits"), admit, "{}", finding.message);
    }
}
