//! Tests of reading NetworkPolicies, valid and invalid.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::selector::{Selector, Selects};

use super::*;
use crate::source::kubernetes::objects::fault::parse;
use crate::source::kubernetes::objects::object::Object;

fn read(spec: &str) -> Result<Option<NetworkPolicy>, Fault> {
    let json = format!(r#"{{"metadata":{{"namespace":"shop","name":"p"}},"spec":{spec}}}"#);
    let Object::<PolicySpec, IgnoredAny> { metadata, spec, .. } =
        parse(&mut serde_json::Deserializer::from_str(&json))?;
    network_policy(&metadata.0, spec)
}

fn policy(spec: &str) -> Option<NetworkPolicy> {
    read(spec).expect("a valid policy")
}

fn number(number: u16) -> Option<PortRef> {
    NonZeroU16::new(number).map(PortRef::Number)
}

#[test]
fn only_policies_for_ingress_are_told() {
    assert!(policy("{}").is_some_and(|policy| policy.ingress.is_empty()));
    assert!(policy(r#"{"policyTypes":["Egress"]}"#).is_none());
    assert!(policy(r#"{"policyTypes":["Egress","Ingress"]}"#).is_some());
    for types in ["[]", "null", r#"["Ingress"]"#] {
        let spec = format!(r#"{{"policyTypes":{types},"egress":[{{}}]}}"#);
        assert!(policy(&spec).is_some_and(|policy| policy.ingress.is_empty()), "{types}");
    }
}

#[test]
fn ports_ranges_names_and_peers() {
    let policy = policy(
        r#"{"podSelector":{"matchLabels":{"app":"web"},"matchExpressions":[
            {"key":"tier","operator":"In","values":["a","b"]},{"key":"x","operator":"Resembles"}]},
          "ingress":[{},{"from":[{},{"podSelector":{}}],"ports":[
            {"port":80},{"port":8000,"endPort":8010,"protocol":"UDP"},{"port":"http"},{"protocol":"SCTP"}]}]}"#,
    )
    .expect("for ingress");
    assert_eq!(policy.selector.labels.get("app").map(String::as_str), Some("web"));
    let operators: Vec<_> =
        policy.selector.expressions.iter().map(|expression| expression.operator).collect();
    assert_eq!(operators, [LabelOperator::In, LabelOperator::Unknown]);
    assert_eq!(policy.ingress[0], IngressRule { ports: vec![], peers: 0 });
    let rule = &policy.ingress[1];
    assert_eq!(rule.peers, 2);
    let named = Some(PortRef::Name("http".to_owned()));
    let admitted = |protocol, port, end: u16| AdmittedPort { protocol, port, end_port: NonZeroU16::new(end) };
    assert_eq!(
        rule.ports,
        [
            admitted(Protocol::Tcp, number(80), 0),
            admitted(Protocol::Udp, number(8000), 8010),
            admitted(Protocol::Tcp, named, 0),
            admitted(Protocol::Sctp, None, 0),
        ]
    );
}

#[test]
fn what_cannot_be_understood_is_refused_and_named() {
    for (spec, then) in [
        (
            r#"{"ingress":[{"ports":[{"port":70000}]}]}"#,
            "spec.ingress[0].ports[0].port is 70000: expected a number from 1 to 65535 or a port's name",
        ),
        (
            r#"{"ingress":[{},{"ports":[{"port":1,"protocol":"QUIC"}]}]}"#,
            "spec.ingress[1].ports[0].protocol is \"QUIC\": expected TCP, UDP or SCTP",
        ),
        (
            r#"{"ingress":[{"ports":[{"port":"http","endPort":9}]}]}"#,
            "spec.ingress[0].ports[0].endPort needs a port number beside it",
        ),
        (
            r#"{"ingress":[{"ports":[{"port":9,"endPort":8}]}]}"#,
            "spec.ingress[0].ports[0].endPort is 8: expected a number from the port 9 to 65535",
        ),
        (
            r#"{"podSelector":{"matchLabels":{"app":true}}}"#,
            "spec.podSelector.matchLabels.app is true: expected a text",
        ),
        (r#"{"podSelector":[]}"#, "spec.podSelector is a list: expected keys with values"),
        (
            r#"{"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":[1]}]}}"#,
            "spec.podSelector.matchExpressions[0].values[0] is 1: expected a text",
        ),
        (r#"{"policyTypes":["ingress"]}"#, "spec.policyTypes[0] is \"ingress\": expected Ingress or Egress"),
    ] {
        assert_eq!(read(spec).expect_err(spec).to_string(), then);
    }
}

#[test]
fn a_policy_of_which_only_the_name_is_known_may_select_every_pod() {
    let policy = unreadable("shop".to_owned(), "p".to_owned());
    assert_eq!(policy.selects(&BTreeMap::new()), Selects::Maybe);
}

#[test]
fn more_ports_than_any_cap_are_all_kept() {
    let ports: Vec<String> = (1..=5000).map(|port| format!(r#"{{"port":{port}}}"#)).collect();
    let spec = format!(r#"{{"ingress":[{{"ports":[{}]}}]}}"#, ports.join(","));
    assert_eq!(policy(&spec).expect("for ingress").ingress[0].ports.len(), 5000);
}
