//! NetworkPolicies, reduced to the ports that they admit. Egress rules and the selectors of peers are left out.

use portolan_engine::model::network_policy::{
    AdmittedPort, IngressRule, LabelExpression, LabelOperator, LabelSelector, NetworkPolicy,
};
use portolan_engine::model::pod::PortRef;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fault::{Fault, shortened};
use super::fields::{Fields, List, NumberOrName, OptionalPort, ProtocolName};
use super::labels::{SelectorSpec, selector};
use super::metadata::Metadata;

/// The fields of a NetworkPolicy's spec that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    pod_selector: Fields<SelectorSpec>,
    policy_types: List<Option<String>>,
    ingress: List<Fields<RuleSpec>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuleSpec {
    ports: List<Fields<PortSpec>>,
    from: List<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortSpec {
    protocol: ProtocolName,
    port: Option<NumberOrName>,
    end_port: OptionalPort,
}

/// Converts a NetworkPolicy; `None` for one that does not restrict ingress.
///
/// # Errors
/// The first fault. The caller must not treat the policy as absent then, see [`unreadable`].
pub fn network_policy(
    metadata: &Metadata,
    spec: Option<Fields<PolicySpec>>,
) -> Result<Option<NetworkPolicy>, Fault> {
    let (namespace, name) = metadata.key()?;
    // The API server takes a policy without a spec for one that isolates every pod.
    let Fields(spec) = spec.unwrap_or_default();
    if !is_for_ingress(&spec)? {
        return Ok(None);
    }
    let mut ingress = Vec::with_capacity(spec.ingress.0.len());
    for (index, Fields(rule)) in spec.ingress.0.into_iter().enumerate() {
        ingress.push(rule_of(index, rule)?);
    }
    let selector = selector("spec.podSelector", spec.pod_selector.0)?;
    Ok(Some(NetworkPolicy { namespace, name, selector, ingress }))
}

/// Returns a policy of which only the name is known: it may select every pod of its namespace, and may admit any port, so
/// that the verdict on their ports is unknown.
#[must_use]
pub fn unreadable(namespace: String, name: String) -> NetworkPolicy {
    let unknown =
        LabelExpression { key: String::new(), operator: LabelOperator::Unknown, values: Vec::new() };
    let selector = LabelSelector { expressions: vec![unknown], ..LabelSelector::default() };
    NetworkPolicy { namespace, name, selector, ingress: Vec::new() }
}

/// True if the policy restricts ingress. One without types does, as the API server sets them.
fn is_for_ingress(spec: &PolicySpec) -> Result<bool, Fault> {
    let types = spec.policy_types.0.iter().map(|kind| kind.as_deref().unwrap_or_default());
    let mut is_for_ingress = spec.policy_types.0.is_empty();
    for (index, kind) in types.enumerate() {
        match kind {
            "Ingress" => is_for_ingress = true,
            "Egress" => {}
            other => {
                let problem = format!("is {:?}: expected Ingress or Egress", shortened(other));
                return Err(Fault::new(format!("spec.policyTypes[{index}]"), problem));
            }
        }
    }
    Ok(is_for_ingress)
}

fn rule_of(index: usize, spec: RuleSpec) -> Result<IngressRule, Fault> {
    let mut ports = Vec::with_capacity(spec.ports.0.len());
    for (port_index, Fields(port)) in spec.ports.0.into_iter().enumerate() {
        ports.push(admitted(port).map_err(|problem| {
            Fault::new(format!("spec.ingress[{index}].ports[{port_index}].endPort"), problem)
        })?);
    }
    Ok(IngressRule { ports, peers: spec.from.0.len() })
}

fn admitted(spec: PortSpec) -> Result<AdmittedPort, String> {
    let port = spec.port.map(|port| port.0);
    let end_port = spec.end_port.0;
    match (&port, end_port) {
        (None | Some(PortRef::Name(_)), Some(_)) => return Err("needs a port number beside it".to_owned()),
        (Some(PortRef::Number(first)), Some(last)) if last < *first => {
            return Err(format!("is {last}: expected a number from the port {first} to 65535"));
        }
        _ => {}
    }
    Ok(AdmittedPort { protocol: spec.protocol.0, port, end_port })
}

#[cfg(test)]
#[path = "network_policy_tests.rs"]
mod tests;
