//! Services, NetworkPolicies and namespaces of a manifest, in the same form as from the API server.

use std::net::IpAddr;

use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::network_policy::{
    AdmittedPort, IngressRule, LabelExpression, LabelOperator, LabelSelector, NetworkPolicy, PolicyPeer,
};
use portolan_engine::model::pod::PortRef;
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind, ServicePort};
use serde_saphyr::Spanned;

use super::fields::{Named, annotations, optional_port, port_number, port_ref, protocol_of, quoted, strings};
use super::invalid::{Invalid, invalid};
use super::schema::{
    Expression, IpBlock, Meta, Object, Peer, PolicyPort, Rule, Selector, ServicePortSpec, Spec, Status, Text,
};

/// Parses a Service.
pub(super) fn service_of(object: &Object, named: Named) -> Result<Service, Invalid> {
    let Some(spec) = &object.spec else {
        return invalid(named.line, "spec is missing: expected the spec of the Service");
    };
    let ports = spec.ports.iter().flatten().map(service_port).collect::<Result<_, _>>()?;
    let selector = spec.selector.iter().flatten().filter_map(|(key, value)| match value {
        Some(Text::Text(text)) => Some((key.clone(), text.clone())),
        None => Some((key.clone(), String::new())),
        Some(Text::Other(_)) => None,
    });
    Ok(Service {
        kind: service_kind(spec)?,
        selector: selector.collect(),
        ports,
        addresses: addresses(spec, object.status.as_ref()),
        outside: outside(spec, object.status.as_ref())?.boxed(),
        namespace: named.namespace,
        name: named.name,
    })
}

fn service_kind(spec: &Spec) -> Result<ServiceKind, Invalid> {
    let headless = spec.cluster_ip.as_deref() == Some("None");
    match spec.service_type.as_ref().map(|kind| (kind, kind.value.as_str())) {
        None | Some((_, "ClusterIP")) if headless => Ok(ServiceKind::Headless),
        None | Some((_, "ClusterIP")) => Ok(ServiceKind::ClusterIp),
        Some((_, "NodePort")) => Ok(ServiceKind::NodePort),
        Some((_, "LoadBalancer")) => Ok(ServiceKind::LoadBalancer),
        Some((_, "ExternalName")) => Ok(ServiceKind::ExternalName),
        Some((kind, other)) => {
            let problem = format!(
                "type is {:?}: expected ClusterIP, NodePort, LoadBalancer or ExternalName",
                quoted(other)
            );
            invalid(kind.referenced.line(), problem)
        }
    }
}

fn service_port(entry: &Spanned<ServicePortSpec>) -> Result<ServicePort, Invalid> {
    let Some(number) = &entry.value.port else {
        return invalid(entry.referenced.line(), "port is missing: expected a number from 1 to 65535");
    };
    let port = port_number("port", number)?;
    Ok(ServicePort {
        name: entry.value.name.clone(),
        protocol: protocol_of(entry.value.protocol.as_ref())?,
        port,
        target: match &entry.value.target_port {
            Some(target) => port_ref("targetPort", target)?,
            None => PortRef::Number(port),
        },
        node_port: optional_port("nodePort", entry.value.node_port.as_ref())?,
    })
}

fn outside(spec: &Spec, status: Option<&Status>) -> Result<ExternalAccess, Invalid> {
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let balanced = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    Ok(ExternalAccess {
        balancer: balanced.flat_map(|entry| [&entry.ip, &entry.hostname]).flatten().cloned().collect(),
        external_ips: spec.external_ips.iter().flatten().filter_map(|text| text.parse().ok()).collect(),
        local_only: spec.external_traffic_policy.as_deref() == Some("Local"),
        health_check: optional_port("healthCheckNodePort", spec.health_check_node_port.as_ref())?,
    })
}

/// Returns the addresses that a client may dial.
fn addresses(spec: &Spec, status: Option<&Status>) -> Vec<IpAddr> {
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let balanced = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let written = [&spec.cluster_ips, &spec.external_ips].into_iter().flatten().flatten();
    let all = spec.cluster_ip.iter().chain(written).chain(balanced.filter_map(|entry| entry.ip.as_ref()));
    let mut addresses: Vec<IpAddr> = all.filter_map(|address| address.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Parses a NetworkPolicy; `None` for one that does not restrict ingress.
pub(super) fn policy_of(object: &Object, named: Named) -> Result<Option<NetworkPolicy>, Invalid> {
    let Some(spec) = &object.spec else {
        return invalid(named.line, "spec is missing: expected the spec of the NetworkPolicy");
    };
    if spec.policy_types.as_ref().is_some_and(|types| !types.iter().any(|kind| kind == "Ingress")) {
        return Ok(None);
    }
    Ok(Some(NetworkPolicy {
        namespace: named.namespace,
        name: named.name,
        selector: spec.pod_selector.as_ref().map(selector_of).unwrap_or_default(),
        ingress: spec.ingress.iter().flatten().map(rule_of).collect::<Result<_, _>>()?,
    }))
}

fn selector_of(selector: &Selector) -> LabelSelector {
    LabelSelector {
        labels: strings(selector.match_labels.as_ref()),
        expressions: selector.match_expressions.iter().flatten().map(expression_of).collect(),
    }
}

fn expression_of(expression: &Expression) -> LabelExpression {
    LabelExpression {
        key: expression.key.clone().unwrap_or_default(),
        operator: match expression.operator.as_deref() {
            Some("In") => LabelOperator::In,
            Some("NotIn") => LabelOperator::NotIn,
            Some("Exists") => LabelOperator::Exists,
            Some("DoesNotExist") => LabelOperator::DoesNotExist,
            _ => LabelOperator::Unknown,
        },
        values: expression.values.clone().unwrap_or_default(),
    }
}

fn rule_of(rule: &Rule) -> Result<IngressRule, Invalid> {
    let ports = rule.ports.iter().flatten().map(admitted_port).collect::<Result<_, _>>()?;
    Ok(IngressRule { ports, peers: rule.from.iter().flatten().map(peer_of).collect() })
}

/// Parses an entry of `from`. What cannot be read may admit anybody.
fn peer_of(peer: &Peer) -> PolicyPeer {
    match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
        (Some(block), None, None) => ip_block(block).unwrap_or(PolicyPeer::Unknown),
        (None, None, None) | (Some(_), ..) => PolicyPeer::Unknown,
        (None, namespaces, pods) => PolicyPeer::Pods {
            namespaces: namespaces.as_ref().map(selector_of),
            pods: pods.as_ref().map(selector_of),
        },
    }
}

fn ip_block(block: &IpBlock) -> Option<PolicyPeer> {
    let except = block.except.iter().flatten().map(|net| net.parse().ok()).collect::<Option<Vec<_>>>()?;
    Some(PolicyPeer::IpBlock { cidr: block.cidr.as_ref()?.parse().ok()?, except })
}

fn admitted_port(entry: &Spanned<PolicyPort>) -> Result<AdmittedPort, Invalid> {
    let port = entry.value.port.as_ref();
    Ok(AdmittedPort {
        protocol: protocol_of(entry.value.protocol.as_ref())?,
        port: port.map(|port| port_ref("port", port)).transpose()?,
        end_port: optional_port("endPort", entry.value.end_port.as_ref())?,
    })
}

/// Parses a namespace.
pub(super) fn namespace_of(meta: &Meta, named: Named) -> Namespace {
    Namespace { name: named.name, labels: strings(meta.labels.as_ref()), annotations: annotations(meta) }
}
