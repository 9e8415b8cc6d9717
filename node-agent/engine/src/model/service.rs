//! A Service: which pods it selects, and which of their ports it sends traffic to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::model::identity::Protocol;
use crate::model::pod::{Pod, PortRef, named_port};
use crate::model::selector::{Selector, Selects};

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub kind: ServiceKind,
    /// Empty: selects nothing (its endpoints are somebody else's work).
    pub selector: BTreeMap<String, String>,
    pub ports: Vec<ServicePort>,
    /// ClusterIPs, external and load balancer addresses: those a client may dial. Empty where headless.
    pub addresses: Vec<IpAddr>,
    /// Boxed: most Services have none of it.
    pub outside: Option<Box<ExternalAccess>>,
}

/// How a Service is reached from outside the cluster, beside its NodePorts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalAccess {
    /// Addresses and host names that its load balancer was given.
    pub balancer: Vec<String>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `externalTrafficPolicy: Local`: a node sends what comes from outside to its own pods only.
    pub local_only: bool,
    /// Where kube-proxy tells a load balancer whether this node has such pods: a real socket on every node.
    pub health_check: Option<NonZeroU16>,
}

impl ExternalAccess {
    /// `None` for nothing.
    #[must_use]
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    ClusterIp,
    Headless,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub name: Option<String>,
    pub protocol: Protocol,
    pub port: NonZeroU16,
    /// Never absent: a Service without targetPort sends to `port`.
    pub target: PortRef,
    pub node_port: Option<NonZeroU16>,
}

impl Service {
    /// The addresses that only the cluster itself can dial: neither its load balancer's nor its external ones.
    pub fn cluster_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let is_outside = |address: &IpAddr| {
            let Some(outside) = &self.outside else { return false };
            let mut balancer = outside.balancer.iter().filter_map(|text| text.parse::<IpAddr>().ok());
            outside.external_ips.contains(address) || balancer.any(|known| known == *address)
        };
        self.addresses.iter().copied().filter(move |address| !is_outside(address))
    }

    /// True if its traffic goes to the pods that it selects.
    #[must_use]
    pub fn selects_pods(&self) -> bool {
        !self.selector.is_empty() && self.kind != ServiceKind::ExternalName
    }
}

impl Selector for Service {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> Vec<Vec<(&str, &str)>> {
        if !self.selects_pods() {
            return vec![Vec::new()];
        }
        self.selector.iter().map(|(key, value)| vec![(key.as_str(), value.as_str())]).collect()
    }

    fn selects(&self, labels: &BTreeMap<String, String>) -> Selects {
        let all = self.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        if all && self.selects_pods() { Selects::Yes } else { Selects::No }
    }
}

impl ServicePort {
    /// The port of this pod that it sends to; `None` where no container has a port of that name and protocol, since the
    /// pod is then no endpoint of it.
    #[must_use]
    pub fn target_in(&self, pod: &Pod) -> Option<NonZeroU16> {
        match &self.target {
            PortRef::Number(port) => Some(*port),
            PortRef::Name(name) => named_port(pod, name, self.protocol),
        }
    }
}
