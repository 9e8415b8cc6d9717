//! Services of the API server, reduced to selector, ports and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::pod::PortRef;
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind, ServicePort};
use serde::Deserialize;

use crate::source::kubernetes::kind::{Kind, Parsed, Parts};
use crate::source::kubernetes::object::{Cuts, IntOrString, Lax, LaxList, Metadata, labels, port, protocol};
use crate::state::Source;

const MAX_PORTS: usize = 1024;
const MAX_ADDRESSES: usize = 64;
const MAX_PORT_NAME: usize = 63;
const MAX_HOST_NAME: usize = 253;

/// Source of the Services of all namespaces.
pub struct Services;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Lax<String>,
    selector: Lax<BTreeMap<String, Lax<String>>>,
    ports: LaxList<PortSpec>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Lax<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: LaxList<String>,
    #[serde(rename = "externalIPs")]
    external_ips: LaxList<String>,
    external_traffic_policy: Lax<String>,
    health_check_node_port: Lax<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortSpec {
    name: Lax<String>,
    protocol: Lax<String>,
    port: Lax<i64>,
    target_port: Lax<IntOrString>,
    node_port: Lax<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    load_balancer: Lax<LoadBalancer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: LaxList<Ingress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Lax<String>,
    hostname: Lax<String>,
}

impl Kind for Services {
    type Spec = ServiceSpec;
    type Status = ServiceStatus;
    type Key = (String, String);
    type Item = Service;

    const SOURCE: Source = Source::Services;
    const PATH: &'static str = "/api/v1/services";
    const PARTS: Parts = Parts::Whole;
    const MOST: usize = 65_536;

    fn read(
        &self,
        mut metadata: Metadata,
        spec: Option<ServiceSpec>,
        status: Option<ServiceStatus>,
        cuts: &mut Cuts,
    ) -> Option<Parsed<Self::Key, Service>> {
        let (namespace, name) = metadata.take_key(cuts)?;
        let spec = spec.unwrap_or_default();
        let kind = kind_of(&spec);
        let outside = outside(&spec, status, cuts);
        let addresses = addresses(&spec, &outside, cuts);
        let mut ports: Vec<ServicePort> =
            spec.ports.entries(MAX_PORTS, cuts).filter_map(service_port).collect();
        ports.shrink_to_fit();
        let service = Service {
            namespace: namespace.clone(),
            name: name.clone(),
            kind,
            selector: labels(spec.selector.0, cuts),
            ports,
            addresses,
            outside: outside.boxed(),
        };
        Some(Parsed { key: (namespace, name), item: Some(service) })
    }

    fn all(&mut self, services: Vec<Service>) -> Input {
        Input::Services(Listing::All(services))
    }

    fn changed(&mut self, service: Service) -> Input {
        Input::Services(Listing::Changed(Box::new(service)))
    }

    fn gone(&mut self, (namespace, name): Self::Key) -> Input {
        Input::Services(Listing::Gone { namespace, name })
    }

    fn unavailable(&mut self) -> Option<Input> {
        Some(Input::Services(Listing::Unavailable))
    }
}

/// Returns the kind of a Service. An unknown type counts as ClusterIP, on which all other types build.
fn kind_of(spec: &ServiceSpec) -> ServiceKind {
    match spec.kind.0.as_deref() {
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        Some("ExternalName") => ServiceKind::ExternalName,
        _ if spec.cluster_ip.0.as_deref() == Some("None") => ServiceKind::Headless,
        _ => ServiceKind::ClusterIp,
    }
}

fn service_port(spec: PortSpec) -> Option<ServicePort> {
    let number = port(spec.port.0)?;
    let target = match spec.target_port.0 {
        // The API server writes 0 for a missing target port.
        None | Some(IntOrString::Number(0)) => PortRef::Number(number),
        Some(IntOrString::Text(text)) if text.is_empty() => PortRef::Number(number),
        Some(target) => target.port(&mut Cuts::default())?,
    };
    Some(ServicePort {
        name: spec.name.0.filter(|name| !name.is_empty() && name.len() <= MAX_PORT_NAME),
        protocol: protocol(spec.protocol.0.as_deref())?,
        port: number,
        target,
        node_port: port(spec.node_port.0),
    })
}

fn outside(spec: &ServiceSpec, status: Option<ServiceStatus>, cuts: &mut Cuts) -> ExternalAccess {
    let balancer = status.and_then(|status| status.load_balancer.0).unwrap_or_default();
    let ingress: Vec<Ingress> = balancer.ingress.entries(MAX_ADDRESSES, cuts).collect();
    let names = ingress.into_iter().flat_map(|ingress| [ingress.ip.0, ingress.hostname.0]).flatten();
    let external = spec.external_ips.clone().entries(MAX_ADDRESSES, cuts);
    let mut outside = ExternalAccess {
        balancer: names.filter(|name| !name.is_empty() && name.len() <= MAX_HOST_NAME).collect(),
        external_ips: external.filter_map(|text| text.parse().ok()).collect(),
        local_only: spec.external_traffic_policy.0.as_deref() == Some("Local"),
        health_check: port(spec.health_check_node_port.0),
    };
    outside.balancer.shrink_to_fit();
    outside.external_ips.shrink_to_fit();
    outside
}

fn addresses(spec: &ServiceSpec, outside: &ExternalAccess, cuts: &mut Cuts) -> Vec<IpAddr> {
    let mut texts: Vec<String> = outside.balancer.clone();
    texts.extend(spec.cluster_ip.0.clone());
    texts.extend(spec.cluster_ips.clone().entries(MAX_ADDRESSES, cuts));
    let mut addresses: Vec<IpAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    addresses.extend(&outside.external_ips);
    addresses.sort_unstable();
    addresses.dedup();
    addresses.shrink_to_fit();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(json: &str) -> Service {
        let object: crate::source::kubernetes::object::Object<ServiceSpec, ServiceStatus> =
            serde_json::from_str(json).expect("an object");
        let metadata = object.metadata.0.expect("metadata");
        let parsed = Services.read(metadata, object.spec.0, object.status.0, &mut Cuts::default());
        parsed.expect("an identity").item.expect("a service")
    }

    #[test]
    fn target_ports_and_addresses() {
        let service = service(
            r#"{"metadata":{"namespace":"shop","name":"web"},"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.1",
            "clusterIPs":["10.0.0.1","fd00::1","no"],"externalIPs":["198.51.100.7"],"externalTrafficPolicy":"Local","healthCheckNodePort":31000,"selector":{"app":"web"},"ports":[
              {"port":80},{"port":81,"targetPort":"http","protocol":"UDP","nodePort":30081},
              {"port":82,"targetPort":8082,"name":"x"},{"port":83,"targetPort":70000},{"port":0},{"port":84,"protocol":"QUIC"},null
            ]},"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.9"},{"hostname":"lb"}]}}}"#,
        );
        assert_eq!(service.kind, ServiceKind::LoadBalancer);
        let addresses: Vec<_> = service.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1", "198.51.100.7", "203.0.113.9", "fd00::1"]);
        let inside: Vec<_> = service.cluster_addresses().map(|address| address.to_string()).collect();
        assert_eq!(inside, ["10.0.0.1", "fd00::1"]);
        let outside = service.outside.as_ref().expect("a way from outside");
        assert_eq!(outside.balancer, ["203.0.113.9", "lb"]);
        assert_eq!((outside.local_only, outside.health_check.map(Into::into)), (true, Some(31_000_u16)));
        let ports: Vec<_> = service.ports.iter().map(|port| (port.port.get(), port.target.clone())).collect();
        let number = |n: u16| PortRef::Number(n.try_into().expect("a port"));
        assert_eq!(ports, [(80, number(80)), (81, PortRef::Name("http".to_owned())), (82, number(8082))]);
        assert_eq!(service.ports[1].node_port.map(std::num::NonZeroU16::get), Some(30081));
    }

    #[test]
    fn kinds_known_and_unknown() {
        for (spec, kind) in [
            (r#"{"clusterIP":"None"}"#, ServiceKind::Headless),
            (r#"{"type":"ExternalName"}"#, ServiceKind::ExternalName),
            (r#"{"type":"Telepathic"}"#, ServiceKind::ClusterIp),
            ("null", ServiceKind::ClusterIp),
        ] {
            assert_eq!(
                service(&format!(r#"{{"metadata":{{"name":"a"}},"spec":{spec}}}"#)).kind,
                kind,
                "{spec}"
            );
        }
    }
}
