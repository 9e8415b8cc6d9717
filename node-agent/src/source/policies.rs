//! NetworkPolicies of the API server, reduced to the ports that they admit, and to whom. Egress rules are left out.

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::{
    AdmittedPort, IngressRule, LabelExpression, LabelOperator, LabelSelector, NetworkPolicy, PolicyPeer,
};
use portolan_engine::model::pod::PortRef;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::source::kubernetes::kind::{Kind, Parsed, Parts};
use crate::source::kubernetes::object::{
    Cuts, Expression, IntOrString, Lax, LaxList, MAX_NAME, Metadata, Selector, labels, port, protocol,
};
use crate::state::Source;

const MAX_RULES: usize = 1024;
const MAX_PORTS: usize = 1024;
/// Maximum number of entries of `from`, and of `except`. What is beyond may admit anybody.
const MAX_PEERS: usize = 256;
const MAX_EXPRESSIONS: usize = 256;
const MAX_VALUES: usize = 1024;

/// Source of the NetworkPolicies of all namespaces.
pub struct NetworkPolicies;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    pod_selector: Lax<Selector>,
    policy_types: LaxList<String>,
    ingress: LaxList<RuleSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuleSpec {
    ports: LaxList<PortSpec>,
    from: LaxList<PeerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PeerSpec {
    pod_selector: Lax<Selector>,
    namespace_selector: Lax<Selector>,
    ip_block: Lax<BlockSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BlockSpec {
    cidr: Lax<String>,
    except: LaxList<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortSpec {
    protocol: Lax<String>,
    port: Lax<IntOrString>,
    end_port: Lax<i64>,
}

impl Kind for NetworkPolicies {
    type Spec = PolicySpec;
    type Status = IgnoredAny;
    type Key = (String, String);
    type Item = NetworkPolicy;

    const SOURCE: Source = Source::NetworkPolicies;
    const PATH: &'static str = "/apis/networking.k8s.io/v1/networkpolicies";
    const PARTS: Parts = Parts::Whole;
    const MOST: usize = 65_536;

    fn read(
        &self,
        mut metadata: Metadata,
        spec: Option<PolicySpec>,
        _status: Option<IgnoredAny>,
        cuts: &mut Cuts,
    ) -> Option<Parsed<Self::Key, NetworkPolicy>> {
        let (namespace, name) = metadata.take_key(cuts)?;
        let spec = spec.unwrap_or_default();
        let key = (namespace.clone(), name.clone());
        if !is_for_ingress(&spec, cuts) {
            return Some(Parsed { key, item: None });
        }
        let rules = spec.ingress.entries(MAX_RULES, cuts).collect::<Vec<_>>();
        let ingress = rules.into_iter().filter_map(|spec| rule(spec, cuts)).collect();
        let selector = selector(spec.pod_selector.0.unwrap_or_default(), cuts);
        Some(Parsed { key, item: Some(NetworkPolicy { namespace, name, selector, ingress }) })
    }

    /// Returns a policy that may select every pod of the namespace, with unknown rules.
    fn in_part(policy: NetworkPolicy) -> Option<NetworkPolicy> {
        let unknown =
            LabelExpression { key: String::new(), operator: LabelOperator::Unknown, values: Vec::new() };
        let selector = LabelSelector { expressions: vec![unknown], ..LabelSelector::default() };
        Some(NetworkPolicy { selector, ingress: Vec::new(), ..policy })
    }

    fn all(&mut self, policies: Vec<NetworkPolicy>) -> Input {
        Input::NetworkPolicies(Listing::All(policies))
    }

    fn changed(&mut self, policy: NetworkPolicy) -> Input {
        Input::NetworkPolicies(Listing::Changed(Box::new(policy)))
    }

    fn gone(&mut self, (namespace, name): Self::Key) -> Input {
        Input::NetworkPolicies(Listing::Gone { namespace, name })
    }

    fn unavailable(&mut self) -> Option<Input> {
        Some(Input::NetworkPolicies(Listing::Unavailable))
    }
}

/// True if the policy restricts ingress; a policy without types does.
fn is_for_ingress(spec: &PolicySpec, cuts: &mut Cuts) -> bool {
    let types: Vec<String> = spec.policy_types.clone().entries(16, cuts).collect();
    types.is_empty() || types.iter().any(|kind| kind == "Ingress")
}

fn selector(spec: Selector, cuts: &mut Cuts) -> LabelSelector {
    let expressions: Vec<Expression> = spec.match_expressions.entries(MAX_EXPRESSIONS, cuts).collect();
    LabelSelector {
        labels: labels(spec.match_labels.0, cuts),
        expressions: expressions.into_iter().map(|spec| expression(spec, cuts)).collect(),
    }
}

fn expression(spec: Expression, cuts: &mut Cuts) -> LabelExpression {
    let operator = match spec.operator.0.as_deref() {
        Some("In") => LabelOperator::In,
        Some("NotIn") => LabelOperator::NotIn,
        Some("Exists") => LabelOperator::Exists,
        Some("DoesNotExist") => LabelOperator::DoesNotExist,
        _ => LabelOperator::Unknown,
    };
    let key = spec.key.0.and_then(|key| cuts.short(key, MAX_NAME * 2));
    LabelExpression {
        operator: if key.is_some() { operator } else { LabelOperator::Unknown },
        key: key.unwrap_or_default(),
        values: spec.values.entries(MAX_VALUES, cuts).collect(),
    }
}

/// Parses a rule; `None` for a rule that admits only protocols that the agent does not observe.
fn rule(spec: RuleSpec, cuts: &mut Cuts) -> Option<IngressRule> {
    let peers = peers(spec.from.0.unwrap_or_default(), cuts);
    let specs: Vec<Lax<PortSpec>> = spec.ports.0.unwrap_or_default();
    let named = specs.len();
    if named > MAX_PORTS {
        // Admitting all ports is safer than a finding that calls an open port blocked.
        cuts.0 += 1;
        return Some(IngressRule { ports: Vec::new(), peers });
    }
    let mut ports: Vec<AdmittedPort> =
        specs.into_iter().filter_map(|spec| admitted(spec.0.unwrap_or_default())).collect();
    ports.shrink_to_fit();
    (named == 0 || !ports.is_empty()).then_some(IngressRule { ports, peers })
}

/// Parses the entries of `from`. What cannot be read or is beyond the cap may admit anybody.
fn peers(specs: Vec<Lax<PeerSpec>>, cuts: &mut Cuts) -> Vec<PolicyPeer> {
    let is_cut = specs.len() > MAX_PEERS;
    cuts.0 += u64::from(is_cut);
    let kept = specs.into_iter().take(MAX_PEERS).map(|spec| peer(spec.0.unwrap_or_default(), cuts));
    let mut peers: Vec<PolicyPeer> = kept.collect();
    peers.extend(is_cut.then_some(PolicyPeer::Unknown));
    peers.shrink_to_fit();
    peers
}

fn peer(spec: PeerSpec, cuts: &mut Cuts) -> PolicyPeer {
    match (spec.ip_block.0, spec.namespace_selector.0, spec.pod_selector.0) {
        (Some(block), None, None) => ip_block(block).unwrap_or(PolicyPeer::Unknown),
        (None, None, None) | (Some(_), ..) => PolicyPeer::Unknown,
        (None, namespaces, pods) => PolicyPeer::Pods {
            namespaces: namespaces.map(|spec| selector(spec, cuts)),
            pods: pods.map(|spec| selector(spec, cuts)),
        },
    }
}

/// Parses an `ipBlock`; `None` if a network in it cannot be read or there are too many.
fn ip_block(spec: BlockSpec) -> Option<PolicyPeer> {
    let cidr = spec.cidr.0?.parse().ok()?;
    let except = spec.except.0.unwrap_or_default();
    let except = except.into_iter().take(MAX_PEERS + 1).map(|net| net.0?.parse().ok());
    let except = except.collect::<Option<Vec<_>>>().filter(|except| except.len() <= MAX_PEERS)?;
    Some(PolicyPeer::IpBlock { cidr, except })
}

/// Parses a port; `None` for a protocol that the agent does not observe. An invalid port admits every port of the protocol, so
/// that no port that may be open is called blocked.
fn admitted(spec: PortSpec) -> Option<AdmittedPort> {
    let admitted = spec.port.0.and_then(|port| port.port(&mut Cuts::default()));
    let end_port = port(spec.end_port.0).filter(|_| matches!(admitted, Some(PortRef::Number(_))));
    Some(AdmittedPort { protocol: protocol(spec.protocol.0.as_deref())?, port: admitted, end_port })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use portolan_engine::model::identity::Protocol;

    fn policy(spec: &str) -> Option<NetworkPolicy> {
        let metadata = serde_json::from_str(r#"{"namespace":"shop","name":"p"}"#).expect("metadata");
        let spec = serde_json::from_str(spec).expect("a spec");
        let parsed = NetworkPolicies.read(metadata, Some(spec), None, &mut Cuts::default());
        parsed.expect("an identity").item
    }

    fn number(number: u16) -> Option<PortRef> {
        NonZeroU16::new(number).map(PortRef::Number)
    }

    #[test]
    fn only_policies_for_ingress_are_told() {
        assert!(policy("{}").is_some_and(|policy| policy.ingress.is_empty()));
        assert!(policy(r#"{"policyTypes":["Egress"]}"#).is_none());
        assert!(policy(r#"{"policyTypes":["Egress","Ingress"]}"#).is_some());
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
        assert_eq!(policy.ingress[0], IngressRule { ports: vec![], peers: vec![] });
        let rule = &policy.ingress[1];
        let every_pod_here = PolicyPeer::Pods { namespaces: None, pods: Some(LabelSelector::default()) };
        assert_eq!(rule.peers, [PolicyPeer::Unknown, every_pod_here]);
        let named = Some(PortRef::Name("http".to_owned()));
        let admitted =
            |protocol, port, end: u16| AdmittedPort { protocol, port, end_port: NonZeroU16::new(end) };
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

    fn peers(from: &str) -> Vec<PolicyPeer> {
        let policy = policy(&format!(r#"{{"ingress":[{{"from":{from}}}]}}"#)).expect("for ingress");
        policy.ingress[0].peers.clone()
    }

    #[test]
    fn peers_are_networks_or_pods_and_else_anybody() {
        let block = |except: &[&str]| PolicyPeer::IpBlock {
            cidr: "10.0.0.0/8".parse().expect("a network"),
            except: except.iter().map(|net| net.parse().expect("a network")).collect(),
        };
        assert_eq!(peers("[]"), []);
        assert_eq!(peers(r#"[{"ipBlock":{"cidr":"10.0.0.0/8"}}]"#), [block(&[])]);
        assert_eq!(
            peers(r#"[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}]"#),
            [block(&["10.1.0.0/16"])]
        );
        let anybody = [
            r#"[{"ipBlock":{"cidr":"10.0.0.0"}}]"#,
            r#"[{"ipBlock":{"cidr":"10.0.0.0/8","except":["x"]}}]"#,
            r#"[{"ipBlock":{}}]"#,
            r#"[{"ipBlock":{"cidr":"10.0.0.0/8"},"podSelector":{}}]"#,
            "[{}]",
            "[7]",
        ];
        for from in anybody {
            assert_eq!(peers(from), [PolicyPeer::Unknown], "{from}");
        }
        let pods = r#"[{"namespaceSelector":{"matchLabels":{"team":"a"}},"podSelector":{"matchLabels":{"app":"web"}}}]"#;
        let labels = |key: &str, value: &str| {
            Some(LabelSelector {
                labels: [(key.to_owned(), value.to_owned())].into(),
                ..LabelSelector::default()
            })
        };
        assert_eq!(
            peers(pods),
            [PolicyPeer::Pods { namespaces: labels("team", "a"), pods: labels("app", "web") }]
        );
    }

    #[test]
    fn peers_beyond_the_cap_may_be_anybody() {
        let many = vec![r#"{"ipBlock":{"cidr":"10.0.0.0/8"}}"#; MAX_PEERS + 5].join(",");
        let peers = peers(&format!("[{many}]"));
        assert_eq!(peers.len(), MAX_PEERS + 1);
        assert_eq!(peers.last(), Some(&PolicyPeer::Unknown));
    }

    #[test]
    fn what_cannot_be_read_never_makes_a_port_blocked() {
        let policy =
            policy(r#"{"ingress":[{"ports":[{"port":70000}]},{"ports":[{"port":1,"protocol":"QUIC"}]}]}"#);
        let ingress = policy.expect("for ingress").ingress;
        assert_eq!(ingress.len(), 1);
        assert_eq!(ingress[0].ports[0].port, None);
    }
}
