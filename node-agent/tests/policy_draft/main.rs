//! Tests `portolan policy`: the draft is a valid NetworkPolicy, and an engine that receives it finds the declared ports
//! admitted and the others blocked.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../engine/tests/scenarios/objects.rs"]
#[expect(dead_code, reason = "builders that the engine's scenarios share")]
mod objects;
#[path = "../../engine/tests/scenarios/world.rs"]
#[expect(dead_code, reason = "builders that the engine's scenarios share")]
mod world;

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use portolan::sink::convert::{Converter, Wall};
use portolan::source::pods::file;
use portolan_client::query::policy::draft::{Draft, draft};
use portolan_client::query::policy::error::PolicyError;
use portolan_client::query::policy::yaml;
use portolan_engine::model::identity::Protocol::{Sctp, Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::model::pod::{Pod, ProbeHandler, Workload};
use portolan_engine::model::policy::PolicyVerdict;
use portolan_engine::read::policy_basis::{PolicySubject, PolicyTarget};
use portolan_report::policy_basis::{LabelledPod, PolicyBasis, PolicyPod, PolicyPort};
use portolan_report::wire::{Explanation, Peer};
use portolan_testing::scratch::Scratch;
use proptest::prelude::*;

use crate::objects::{admits_from, admitted, block, number, policy, sends, service, services};
use crate::world::{APP, CURLER, PodBuilder, World, host, netns, opened, pod, pods};

fn web() -> PodBuilder {
    let pod = pod("web-1").at("app").label("app", "web").label("pod-template-hash", "abc");
    pod.container("app", Regular, &[(8080, Tcp), (7, Udp)])
}

fn owned(builder: PodBuilder) -> Pod {
    let workload = Some(Workload { kind: "Deployment".to_owned(), name: "web".to_owned() });
    Pod { workload, ..builder.into() }
}

/// Two pods: `web` declares 8080 and UDP 7, and listens on 9090 too; `curler` calls 9090.
fn world(web: Pod) -> World {
    let mut world = World::new();
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![web, pod("curler").at("curler").label("app", "curler").into()]));
    world.listen(APP, 10, 8080).listen(APP, 11, 9090);
    world.calls(APP, Tcp, 9090, "10.1.0.3", 3).wait(6_000);
    world
}

fn basis(world: &World, who: PolicySubject) -> PolicyBasis {
    let basis = world.engine.policy_basis(&PolicyTarget { namespace: None, subject: who });
    let converter = Converter { agent: "node-1".into(), wall: Wall { unix_ns_at_boot: 0 }, now: world.now };
    converter.policy_basis(&basis)
}

fn of_pod(world: &World) -> PolicyBasis {
    basis(world, PolicySubject::Pod("web-1".to_owned()))
}

/// Parses the draft's YAML into the type of the API server, which must keep every field.
fn typed(draft: &Draft) -> NetworkPolicy {
    let text = yaml(draft).expect("yaml");
    let value: serde_json::Value = serde_saphyr::from_str(&text).expect("yaml");
    let policy: NetworkPolicy = serde_json::from_value(value.clone()).expect("a NetworkPolicy");
    assert_eq!(serde_json::to_value(&policy).expect("json"), value);
    policy
}

fn rules(draft: &Draft) -> Vec<String> {
    let value = serde_json::to_value(&draft.policy.spec.ingress).expect("json");
    let all = value.as_array().expect("rules").iter();
    all.map(|rule| {
        let from = rule.get("from").map_or_else(|| "*".to_owned(), ToString::to_string);
        let ports = rule["ports"].as_array().expect("ports").iter();
        let ports: Vec<String> = ports
            .map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("")))
            .collect();
        format!("{} from {from}", ports.join(" "))
    })
    .collect()
}

fn assert_remark(draft: &Draft, what: &str) {
    assert!(draft.remarks.iter().any(|remark| remark.contains(what)), "{what:?}: {:#?}", draft.remarks);
}

#[test]
fn a_cron_job_is_a_target_by_the_name_that_tables_print() {
    let workload = |name: &str| Some(Workload { kind: "Job".to_owned(), name: name.to_owned() });
    let world = world(Pod { workload: workload("backup-29901234"), ..web().into() });
    for (kind, name, pods) in [("cronjob", "backup", 1), ("job", "backup-29901234", 1), ("job", "backup", 0)]
    {
        let subject = PolicySubject::Workload { kind: Some(kind.to_owned()), name: name.to_owned() };
        let basis = basis(&world, subject);
        assert_eq!(basis.pods.len(), pods, "{kind}/{name}");
        for pod in &basis.pods {
            assert_eq!(portolan_report::workload_table::workload(&pod.labelled.pod), "demo/cronjob/backup");
        }
        if pods > 0 {
            let draft = draft(&basis, false).expect("a draft");
            assert_eq!(draft.policy.metadata.name, "backup-declared-ports", "{kind}/{name}");
        }
    }
}

#[test]
fn declared_ports_are_admitted_and_the_others_blocked_once_it_is_applied() {
    let mut world = world(owned(web()));
    let draft = draft(&of_pod(&world), false).expect("a draft");
    assert_eq!(rules(&draft), ["7/UDP 8080/TCP from *"]);
    assert_remark(&draft, "9090/TCP undeclared-active, served by python3, called by demo/curler");
    let policy = typed(&draft);
    assert_eq!(policy.metadata.name.as_deref(), Some("web-declared-ports"));
    assert_eq!(
        policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref()?.match_labels.clone()),
        Some(BTreeMap::from([("app".to_owned(), "web".to_owned())]))
    );
    world.apply(Input::NetworkPolicies(Listing::All(read_back(&draft))));
    assert_eq!(world.finding().policy.verdict, PolicyVerdict::Blocked);
    let basis = of_pod(&world);
    assert_eq!(basis.pods[0].policies, ["web-declared-ports"]);
    // Over a pod that no longer declares 8080, the same policy still admits that port.
    let mut other = self::world(owned(web()));
    let undeclared_8080 = pod("web-1").at("app").label("app", "web").container("app", Regular, &[]);
    other.apply(pods(vec![owned(undeclared_8080)]));
    other.apply(Input::NetworkPolicies(Listing::All(read_back(&draft))));
    let verdicts: Vec<_> = other
        .engine
        .findings()
        .filter_map(|finding| Some((finding.port?.get(), finding.policy.verdict)))
        .collect();
    assert!(verdicts.contains(&(8080, PolicyVerdict::Open)), "{verdicts:?}");
    assert!(verdicts.contains(&(9090, PolicyVerdict::Blocked)), "{verdicts:?}");
}

/// Reads the draft's YAML with the agent's reader of manifests.
fn read_back(draft: &Draft) -> Vec<portolan_engine::model::network_policy::NetworkPolicy> {
    let scratch = Scratch::new("policy");
    let path = scratch.write("policy.yaml", &yaml(draft).expect("yaml"));
    file::read(&path).expect("the agent's reader accepts it").objects.policies
}

#[test]
fn a_service_is_let_in_and_kubelet_needs_no_rule() {
    let web = web().probe(ProbeHandler::Liveness, number(9091));
    let mut world = world(owned(web));
    world.apply(services(vec![sends(service("web", "web"), 80, Tcp, number(9090))]));
    let now = world.now;
    world.listen(APP, 12, 9091).apply(opened(APP, 13, Tcp, 9901, "127.0.0.1", now)).wait(6_000);
    let draft = draft(&of_pod(&world), false).expect("a draft");
    assert_eq!(rules(&draft), ["7/UDP 8080/TCP 9090/TCP from *"]);
    assert_remark(
        &draft,
        "9090/TCP from everywhere: not declared, but expected by service demo/web:80: declare it",
    );
    assert_remark(
        &draft,
        "9091/TCP not declared; only kubelet calls it (container/app/livenessProbe), from the node",
    );
    assert_remark(&draft, "9901/TCP served on loopback only, served by python3");
    let no_curler = !draft.remarks.iter().any(|remark| remark.contains("curler"));
    assert!(no_curler, "the port that it calls is admitted: {:#?}", draft.remarks);
}

#[test]
fn whom_the_policy_cuts_off_is_said_of_every_port_that_is_left_out() {
    let drafted = |objects: Vec<Input>, pod: PodBuilder| {
        let mut world = world(owned(pod));
        objects.into_iter().for_each(|object| {
            world.apply(object);
        });
        world.wait(6_000);
        draft(&of_pod(&world), false).expect("a draft")
    };
    let admitting = |name: &str, peers| {
        let ports = vec![admitted(Tcp, Some(number(9090)), None)];
        Input::NetworkPolicies(Listing::All(vec![admits_from(policy(name), ports, peers)]))
    };
    let probed = drafted(Vec::new(), web().probe(ProbeHandler::Liveness, number(9090)));
    assert_remark(
        &probed,
        "9090/TCP not declared; kubelet calls it (container/app/livenessProbe), and so does demo/curler, whom this policy \
         cuts off; to admit it, declare it",
    );
    assert!(!probed.remarks.iter().any(|remark| remark.contains("only kubelet")), "{:#?}", probed.remarks);
    assert_remark(
        &drafted(Vec::new(), web()),
        "9090/TCP undeclared-active, served by python3, called by demo/curler, whom this policy cuts off; to admit it,",
    );
    let replaced = drafted(vec![admitting("web-declared-ports", Vec::new())], web());
    assert_remark(&replaced, "which this one would replace; called by demo/curler, whom this cuts off");
    let beside = drafted(vec![admitting("other", Vec::new())], web());
    assert_remark(
        &beside,
        "9090/TCP not declared; the policy demo/other admits it, and goes on doing so beside this one",
    );
    assert!(!beside.remarks.iter().any(|remark| remark.contains("cuts off")), "{:#?}", beside.remarks);
    let others = drafted(vec![admitting("other", vec![block("192.168.0.0/16", &[])])], web());
    assert_remark(&others, "goes on doing so beside this one; called by demo/curler, whom this cuts off");
}

#[test]
fn callers_of_an_earlier_run_are_never_said_to_be_kubelet_alone() {
    let mut before = world(owned(web().probe(ProbeHandler::Liveness, number(9090))));
    before.wait(6_000);
    let mut next = World::new();
    next.apply(Input::Remembered(before.engine.findings_to_remember()));
    next.apply(host()).apply(netns(APP, "app", "10.1.0.2/24"));
    next.apply(pods(vec![owned(web().probe(ProbeHandler::Liveness, number(9090)))]));
    next.listen(APP, 10, 8080).listen(APP, 11, 9090).wait(6_000);
    let drafted = draft(&of_pod(&next), false).expect("a draft");
    assert_remark(&drafted, "and so does somebody who is not remembered, whom this policy cuts off");
}

#[test]
fn a_caller_whom_no_explanation_explains_is_named_where_the_draft_admits_the_port() {
    let mut world = world(owned(web()));
    world.apply(services(vec![sends(service("web", "web"), 80, Tcp, number(9090))]));
    world.calls(APP, Tcp, 9090, "8.8.8.8", 1).wait(6_000);
    let drafted = draft(&of_pod(&world), false).expect("a draft");
    assert_remark(&drafted, "it also admits 8.8.8.8, whose calls nothing explains");
}

#[test]
fn both_addresses_of_a_pod_are_one_caller() {
    let mut world = world(owned(web()));
    let curler = pod("curler").at("curler").label("app", "curler").address("10.1.0.3").address("fd00::3");
    world.apply(pods(vec![owned(web()), curler.into()]));
    world.calls(APP, Tcp, 9090, "fd00::3", 2).calls(APP, Tcp, 8080, "fd00::3", 1);
    world.calls(APP, Tcp, 8080, "10.1.0.3", 1).wait(6_000);
    let drafted = draft(&of_pod(&world), true).expect("a draft");
    assert_remark(&drafted, "9090/TCP undeclared-active, served by python3, called by demo/curler, whom");
    assert_remark(&drafted, "8080/TCP from demo/curler: declared");
    let curler = r#"8080/TCP from [{"podSelector":{"matchLabels":{"app":"curler"}}}]"#;
    assert!(rules(&drafted).contains(&curler.to_owned()), "{:?}", rules(&drafted));
    let message = world.finding().message.clone();
    assert!(message.contains("demo/curler (10.1.0.3) connected 5 times: declare"), "{message}");
}

#[test]
fn where_it_admits_more_than_was_seen_is_said() {
    let mut world = world(owned(web()));
    let others = [
        pod("curler").at("curler").label("app", "curler"),
        pod("curler-2").at("curler-2").label("app", "curler").address("10.1.0.4"),
        pod("bare").at("bare").address("10.1.0.5"),
    ];
    let mut all = vec![owned(web())];
    all.extend(others.map(Pod::from));
    world.apply(pods(all)).calls(APP, Tcp, 8080, "10.1.0.3", 1);
    world.calls(APP, Tcp, 8080, "10.1.0.5", 1).calls(APP, Tcp, 8080, "203.0.113.7", 1).wait(6_000);
    let drafted = draft(&of_pod(&world), true).expect("a draft");
    assert_remark(&drafted, "Wider than what was seen");
    assert_remark(
        &drafted,
        "8080/TCP every pod of namespace demo with app=curler, such as demo/curler-2, not seen to call",
    );
    assert_remark(&drafted, "8080/TCP every pod of namespace demo, since a caller has no label that lasts");
    assert_remark(&drafted, "8080/TCP whoever shares the address 203.0.113.7");
    let everywhere = draft(&of_pod(&world), false).expect("a draft");
    assert!(!everywhere.remarks.iter().any(|remark| remark.contains("Wider")), "{:#?}", everywhere.remarks);
}

#[test]
fn a_declared_port_on_loopback_is_left_out_and_one_that_nobody_serves_is_admitted() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![owned(web())]));
    world.apply(opened(APP, 10, Tcp, 8080, "127.0.0.1", world.now)).wait(6_000);
    let draft = draft(&of_pod(&world), false).expect("a draft");
    assert_eq!(rules(&draft), ["7/UDP from *"]);
    assert_remark(&draft, "8080/TCP declared, but served on loopback only");
}

#[test]
fn who_was_seen_is_admitted_and_who_cannot_be_said_makes_it_wider() {
    let seen = |peers: &[&str]| {
        let mut world = world(owned(web()));
        for peer in peers {
            world.calls(APP, Tcp, 8080, peer, 2);
        }
        world.wait(10_000);
        let drafted = draft(&of_pod(&world), true).expect("a draft");
        typed(&drafted);
        rules(&drafted).into_iter().find(|rule| rule.contains("8080/TCP")).expect("a rule")
    };
    let curler = r#"{"podSelector":{"matchLabels":{"app":"curler"}}}"#;
    assert_eq!(seen(&["10.1.0.3"]), format!("8080/TCP from [{curler}]"));
    let block = r#"{"ipBlock":{"cidr":"203.0.113.7/32"}}"#;
    assert_eq!(seen(&["10.1.0.3", "203.0.113.7"]), format!("8080/TCP from [{block},{curler}]"));
    assert_eq!(
        seen(&["10.1.0.3", "10.9.9.9"]),
        r#"8080/TCP from [{"namespaceSelector":{}}]"#,
        "a pod of another node, whose labels nobody here knows"
    );
    assert_eq!(seen(&["192.0.2.10"]), "7/UDP 8080/TCP from *", "only the node called");
    let many: Vec<String> = (1..=40).map(|host| format!("203.0.113.{host}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(seen(&many), r#"8080/TCP from [{"ipBlock":{"cidr":"0.0.0.0/0"}}]"#);
}

#[test]
fn a_caller_of_another_namespace_is_meant_by_both_selectors() {
    let mut world = world(owned(web()));
    let caller =
        Pod { namespace: "ops".to_owned(), ..pod("curler").at("curler").label("app", "probe").into() };
    world.apply(pods(vec![owned(web()), caller])).calls(APP, Tcp, 8080, "10.1.0.3", 1).wait(6_000);
    let drafted = draft(&of_pod(&world), true).expect("a draft");
    let then = r#"8080/TCP from [{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"ops"}},"podSelector":{"matchLabels":{"app":"probe"}}}]"#;
    assert!(rules(&drafted).contains(&then.to_owned()), "{:?}", rules(&drafted));
}

#[test]
fn a_workload_is_all_its_pods_and_its_ports_are_theirs_together() {
    let mut world = world(owned(web()));
    let second = pod("web-2").at("two").label("app", "web").label("pod-template-hash", "def");
    let second = owned(second.container("app", Regular, &[(8081, Sctp)]));
    world.apply(pods(vec![owned(web()), second, pod("other").label("app", "web").label("x", "y").into()]));
    for who in [
        PolicySubject::Pod("web-2".to_owned()),
        PolicySubject::Workload { kind: Some("deployment".to_owned()), name: "web".to_owned() },
    ] {
        let drafted = draft(&basis(&world, who), false).expect("a draft");
        assert_eq!(rules(&drafted), ["7/UDP 8080/TCP 8081/SCTP from *"]);
        assert_eq!(drafted.policy.spec.pod_selector.match_labels.len(), 1);
        assert_remark(&drafted, "WARNING: the selector also means other pods of this node: demo/other;");
        typed(&drafted);
    }
}

#[test]
fn what_no_policy_can_mean_is_refused() {
    let drafted = |pod: PodBuilder| {
        let mut world = World::new();
        world.apply(pods(vec![pod.into()]));
        draft(&of_pod(&world), false)
    };
    let bare = || pod("web-1").container("app", Regular, &[(8080, Tcp)]);
    assert!(matches!(drafted(bare().label("app", "x").host_network()), Err(PolicyError::HostNetwork { .. })));
    assert!(matches!(drafted(bare()), Err(PolicyError::NoLabels { .. })));
    let mut world = World::new();
    let elsewhere = Pod { namespace: "other".to_owned(), ..pod("web-1").uid("b").label("app", "x").into() };
    world.apply(pods(vec![bare().label("app", "x").into(), elsewhere]));
    assert!(matches!(draft(&of_pod(&world), false), Err(PolicyError::ManyNamespaces { .. })));
    assert!(basis(&world, PolicySubject::Pod("nobody".to_owned())).pods.is_empty());
    assert!(draft(&basis(&world, PolicySubject::Pod("nobody".to_owned())), false).is_err());
}

#[test]
fn a_pod_that_declares_nothing_is_shut_off_and_that_is_said() {
    let mut world = World::new();
    world.apply(pods(vec![pod("web-1").label("app", "x").container("app", Regular, &[]).into()]));
    let drafted = draft(&of_pod(&world), false).expect("a draft");
    assert_eq!(drafted.warnings, ["the pods declare no port: this policy shuts them off"]);
    let policy = typed(&drafted);
    assert_eq!(policy.spec.and_then(|spec| spec.ingress), Some(Vec::new()));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9-]{1,12}", any::<String>(), Just("\n- evil: true\r\u{85}\u{2028}# ".to_owned())]
}

fn labelled() -> impl Strategy<Value = LabelledPod> {
    let names = (text(), text(), proptest::option::of(text()));
    let labels = proptest::collection::btree_map("([a-z.]{1,8}/)?[A-Za-z0-9_.-]{1,20}|\\PC*", text(), 0..5);
    (names, labels).prop_map(|((namespace, name, owner), labels)| LabelledPod {
        pod: portolan_report::wire::Pod {
            namespace,
            name,
            uid: "u".to_owned(),
            workload: owner
                .map(|name| portolan_report::wire::Workload { kind: "Deployment".to_owned(), name }),
            host_network: false,
            labels: None,
        },
        labels,
    })
}

fn policy_port() -> impl Strategy<Value = PolicyPort> {
    let peer = (text(), prop_oneof![Just("pod"), Just("node"), Just("external"), Just("x")], text());
    let peer = peer.prop_map(|(address, origin, reference)| Peer {
        address,
        origin: origin.to_owned(),
        reference: Some(reference),
        workload: None,
        caller_node: None,
        via: None,
        beyond_audience: false,
        connections: 1,
        packets: 1,
        bytes: 1,
        first_seen: String::new(),
        last_seen: String::new(),
    });
    let by = proptest::option::of(text());
    (
        any::<u16>(),
        prop_oneof![Just("TCP"), Just("UDP"), Just("SCTP"), Just("X")],
        text(),
        by,
        proptest::collection::vec(peer, 0..4),
    )
        .prop_map(|(port, protocol, words, by, peers)| {
            let explained_by = vec![Explanation {
                source: words.clone(),
                reference: words.clone(),
                audience: "pods".to_owned(),
            }];
            PolicyPort {
                protocol: protocol.to_owned(),
                port,
                name: Some(words.clone()),
                declaration: portolan_report::wire::Declaration {
                    status: "declared".to_owned(),
                    declared_by: by.into_iter().collect(),
                    explained_by: if port % 2 == 0 { explained_by } else { Vec::new() },
                },
                exposure: Some("pod".to_owned()),
                process: Some(portolan_report::wire::Process {
                    pid: 1,
                    name: words.clone(),
                    executable: None,
                }),
                code: Some(words.clone()),
                container: Some(words.clone()),
                service_port_names: vec![words],
                unproven: false,
                traffic: portolan_report::wire::Traffic { peers, ..Default::default() },
            }
        })
}

proptest! {
    #[test]
    fn whatever_pods_choose_the_draft_is_a_valid_policy_with_harmless_comments(
        target in labelled(),
        others in proptest::collection::vec(labelled(), 0..3),
        ports in proptest::collection::vec(policy_port(), 0..5),
        observed in any::<bool>(),
    ) {
        let world = World::new();
        let mut basis = of_pod(&world);
        basis.pods = vec![PolicyPod {
            labelled: target,
            policies: vec!["\n".to_owned()],
            containers: Vec::new(),
            missing_names: Vec::new(),
            storm: false,
            ports,
        }];
        basis.callers = others.clone();
        basis.neighbours = others;
        let Ok(drafted) = draft(&basis, observed) else { return Ok(()) };
        prop_assert_eq!(&drafted, &draft(&basis, observed).expect("again"));
        let policy = typed(&drafted);
        let name = policy.metadata.name.expect("a name");
        prop_assert!(name.len() <= 253 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)));
        for line in drafted.remarks.iter().chain(&drafted.warnings) {
            prop_assert!(line.chars().all(|c| !c.is_control() && (c.is_ascii() || c.is_alphanumeric() || c == '…')), "{:?}", line);
        }
        let text = yaml(&drafted).expect("yaml");
        prop_assert!(text.lines().skip_while(|line| line.starts_with('#')).all(|line| line.is_ascii()));
    }
}
