//! Builders of Services and NetworkPolicies.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::{
    AdmittedPort, IngressRule, LabelExpression, LabelOperator, LabelSelector, NetworkPolicy, PolicyPeer,
};
use portolan_engine::model::pod::PortRef;
use portolan_engine::model::service::{Service, ServiceKind, ServicePort};

pub fn number(port: u16) -> PortRef {
    PortRef::Number(NonZeroU16::new(port).expect("a port"))
}

pub fn named(port: &str) -> PortRef {
    PortRef::Name(port.to_owned())
}

/// A Service of namespace `demo` for the pods with `app: NAME`.
pub fn service(name: &str, app: &str) -> Service {
    Service {
        namespace: "demo".to_owned(),
        name: name.to_owned(),
        kind: ServiceKind::ClusterIp,
        selector: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        ports: Vec::new(),
        addresses: Vec::<IpAddr>::new(),
        outside: None,
        ip_families: (false, false),
        publishes_not_ready: false,
    }
}

pub fn sends(mut service: Service, port: u16, protocol: Protocol, target: PortRef) -> Service {
    let port = NonZeroU16::new(port).expect("a port");
    service.ports.push(ServicePort { name: None, protocol, port, target, node_port: None });
    service
}

pub fn services(all: Vec<Service>) -> Input {
    Input::Services(Listing::All(all))
}

pub fn service_changed(service: Service) -> Input {
    Input::Services(Listing::Changed(Box::new(service)))
}

pub fn service_gone(name: &str) -> Input {
    Input::Services(Listing::Gone { namespace: "demo".to_owned(), name: name.to_owned() })
}

/// A policy of namespace `demo` that selects every pod and admits nothing.
pub fn policy(name: &str) -> NetworkPolicy {
    NetworkPolicy {
        namespace: "demo".to_owned(),
        name: name.to_owned(),
        selector: LabelSelector::default(),
        ingress: Vec::new(),
    }
}

pub fn for_app(mut policy: NetworkPolicy, app: &str) -> NetworkPolicy {
    policy.selector.labels.insert("app".to_owned(), app.to_owned());
    policy
}

pub fn where_label(
    mut policy: NetworkPolicy,
    key: &str,
    operator: LabelOperator,
    values: &[&str],
) -> NetworkPolicy {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    policy.selector.expressions.push(LabelExpression { key: key.to_owned(), operator, values });
    policy
}

/// Adds a rule that admits these ports from everywhere; no port means every port.
pub fn admits(policy: NetworkPolicy, ports: Vec<AdmittedPort>) -> NetworkPolicy {
    admits_from(policy, ports, Vec::new())
}

/// Adds a rule that admits these ports from these peers.
pub fn admits_from(
    mut policy: NetworkPolicy,
    ports: Vec<AdmittedPort>,
    peers: Vec<PolicyPeer>,
) -> NetworkPolicy {
    policy.ingress.push(IngressRule { ports, peers });
    policy
}

/// The addresses of a network, without some networks.
pub fn block(cidr: &str, except: &[&str]) -> PolicyPeer {
    let net = |text: &str| text.parse().expect("a network");
    PolicyPeer::IpBlock { cidr: net(cidr), except: except.iter().map(|text| net(text)).collect() }
}

/// Selects what has these labels.
pub fn labelled(labels: &[(&str, &str)]) -> LabelSelector {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    LabelSelector { labels: labels.collect(), expressions: Vec::new() }
}

/// Pods with these labels in the namespace of the policy.
pub fn pods_with(labels: &[(&str, &str)]) -> PolicyPeer {
    PolicyPeer::Pods { namespaces: None, pods: Some(labelled(labels)) }
}

pub fn admitted(protocol: Protocol, port: Option<PortRef>, end: Option<u16>) -> AdmittedPort {
    AdmittedPort { protocol, port, end_port: end.and_then(NonZeroU16::new) }
}

pub fn policies(all: Vec<NetworkPolicy>) -> Input {
    Input::NetworkPolicies(Listing::All(all))
}
