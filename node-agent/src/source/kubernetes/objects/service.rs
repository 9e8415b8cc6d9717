//! Services, reduced to selector, ports and addresses.

use std::net::IpAddr;

use portolan_engine::model::pod::PortRef;
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind, ServicePort};
use serde::Deserialize;

use super::fault::{Fault, shortened};
use super::fields::{Cuts, Fields, List, OptionalPort, PortNumber, ProtocolName, TargetPort, port_name};
use super::labels::{Texts, labels};
use super::metadata::Metadata;

const MAX_ADDRESSES: usize = 64;
const MAX_HOST_NAME: usize = 253;

/// The fields of a Service's spec that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    selector: Texts,
    ports: List<Fields<PortSpec>>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: List<Option<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: List<Option<String>>,
    external_traffic_policy: Option<String>,
    health_check_node_port: OptionalPort,
    publish_not_ready_addresses: Option<bool>,
    ip_families: List<Option<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortSpec {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    protocol: ProtocolName,
    port: PortNumber,
    #[serde(default)]
    target_port: TargetPort,
    #[serde(default)]
    node_port: OptionalPort,
}

/// The fields of a Service's status that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    load_balancer: Fields<LoadBalancer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: List<Fields<Ingress>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Option<String>,
    hostname: Option<String>,
}

/// Converts a Service.
///
/// # Errors
/// The first fault.
pub fn service(
    metadata: &Metadata,
    spec: Option<Fields<ServiceSpec>>,
    status: Option<Fields<ServiceStatus>>,
    cuts: &mut Cuts,
) -> Result<Service, Fault> {
    let Fields(spec) = spec.ok_or_else(|| Fault::missing("spec"))?;
    let (namespace, name) = metadata.key()?;
    let kind = kind_of(&spec)?;
    let outside = outside(&spec, status.unwrap_or_default().0, cuts);
    let addresses = addresses(&spec, &outside, cuts);
    let mut ports: Vec<ServicePort> = spec.ports.0.into_iter().map(|Fields(port)| port.into()).collect();
    ports.shrink_to_fit();
    let has_family = |name: &str| spec.ip_families.0.iter().flatten().any(|family| family == name);
    let ip_families = (has_family("IPv4"), has_family("IPv6"));
    Ok(Service {
        namespace,
        name,
        kind,
        selector: labels("spec.selector", spec.selector)?,
        ports,
        addresses,
        outside: outside.boxed(),
        ip_families,
        publishes_not_ready: spec.publish_not_ready_addresses == Some(true),
    })
}

fn kind_of(spec: &ServiceSpec) -> Result<ServiceKind, Fault> {
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    match spec.kind.as_deref() {
        None | Some("" | "ClusterIP") if is_headless => Ok(ServiceKind::Headless),
        None | Some("" | "ClusterIP") => Ok(ServiceKind::ClusterIp),
        Some("NodePort") => Ok(ServiceKind::NodePort),
        Some("LoadBalancer") => Ok(ServiceKind::LoadBalancer),
        Some("ExternalName") => Ok(ServiceKind::ExternalName),
        Some(other) => Err(Fault::new(
            "spec.type",
            format!("is {:?}: expected ClusterIP, NodePort, LoadBalancer or ExternalName", shortened(other)),
        )),
    }
}

impl From<PortSpec> for ServicePort {
    fn from(spec: PortSpec) -> Self {
        Self {
            name: port_name(spec.name),
            protocol: spec.protocol.0,
            port: spec.port.0,
            target: spec.target_port.0.unwrap_or(PortRef::Number(spec.port.0)),
            node_port: spec.node_port.0,
        }
    }
}

fn outside(spec: &ServiceSpec, status: ServiceStatus, cuts: &mut Cuts) -> ExternalAccess {
    let ingress = status.load_balancer.0.ingress.within(MAX_ADDRESSES, cuts);
    let names = ingress.flat_map(|Fields(ingress)| [ingress.ip, ingress.hostname]).flatten();
    let mut outside = ExternalAccess {
        balancer: names.filter(|name| !name.is_empty() && name.len() <= MAX_HOST_NAME).collect(),
        external_ips: parsed(&spec.external_ips, cuts).collect(),
        local_only: spec.external_traffic_policy.as_deref() == Some("Local"),
        health_check: spec.health_check_node_port.0,
    };
    outside.balancer.shrink_to_fit();
    outside.external_ips.shrink_to_fit();
    outside
}

/// Returns the addresses that a client may dial. `None` and names are no addresses.
fn addresses(spec: &ServiceSpec, outside: &ExternalAccess, cuts: &mut Cuts) -> Vec<IpAddr> {
    let single = spec.cluster_ip.iter().chain(&outside.balancer).filter_map(|text| text.parse().ok());
    let mut addresses: Vec<IpAddr> =
        single.chain(parsed(&spec.cluster_ips, cuts)).chain(outside.external_ips.iter().copied()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.shrink_to_fit();
    addresses
}

fn parsed<'a>(texts: &'a List<Option<String>>, cuts: &mut Cuts) -> impl Iterator<Item = IpAddr> + use<'a> {
    cuts.beyond(texts.0.len(), MAX_ADDRESSES);
    texts.0.iter().take(MAX_ADDRESSES).flatten().filter_map(|text| text.parse().ok())
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
