//! A Service: which pods it selects, and which of their ports it sends traffic to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::model::families::Families;
use crate::model::identity::Protocol;
use crate::model::pod::{Pod, PortRef, named_port};
use crate::model::selector::{Selector, Selects};

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
    /// `spec.type`, with headless Services apart.
    pub kind: ServiceKind,
    /// Labels that a pod must have. Empty: selects nothing; another controller writes the endpoints.
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// ClusterIPs, external IPs and load balancer IPs: every address that a client may dial. Empty if headless.
    pub addresses: Vec<IpAddr>,
    /// External access; `None` for most Services. Boxed for that reason.
    pub outside: Option<Box<ExternalAccess>>,
    /// Families of `spec.ipFamilies`, as `(IPv4, IPv6)`; neither where the manifest does not say.
    pub ip_families: (bool, bool),
    /// `publishNotReadyAddresses`: the Service sends to pods that are not ready too.
    pub publishes_not_ready: bool,
}

/// How a Service is reached from outside the cluster, besides its NodePorts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalAccess {
    /// Addresses and host names of its load balancer (`status.loadBalancer.ingress`).
    pub balancer: Vec<String>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `externalTrafficPolicy: Local`: a node forwards external traffic to its own pods only.
    pub local_only: bool,
    /// `healthCheckNodePort`: where kube-proxy tells a load balancer whether this node has pods of the Service. A
    /// real socket on every node.
    pub health_check: Option<NonZeroU16>,
}

impl ExternalAccess {
    /// Boxes the value; `None` if it is empty.
    #[must_use]
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Type of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Reached by a cluster IP.
    ClusterIp,
    /// `clusterIP: None`: its name resolves to the pods' own addresses.
    Headless,
    /// Reached by a port of every node, and by a cluster IP.
    NodePort,
    /// Reached by a load balancer, and mostly by NodePorts and a cluster IP.
    LoadBalancer,
    /// A DNS alias. No traffic is forwarded.
    ExternalName,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; `None` if the Service has a single unnamed port.
    pub name: Option<String>,
    /// Protocol; TCP where the manifest has none.
    pub protocol: Protocol,
    /// Port that clients dial on the Service's addresses.
    pub port: NonZeroU16,
    /// Port of the pods. Equals `port` where the manifest has no `targetPort`.
    pub target: PortRef,
    /// NodePort, if one is allocated.
    pub node_port: Option<NonZeroU16>,
}

impl Service {
    /// Returns the addresses that only clients inside the cluster can dial: all but load balancer and external IPs.
    pub fn cluster_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let is_outside = |address: &IpAddr| {
            let Some(outside) = &self.outside else { return false };
            let mut balancer = outside.balancer.iter().filter_map(|text| text.parse::<IpAddr>().ok());
            outside.external_ips.contains(address) || balancer.any(|known| known == *address)
        };
        self.addresses.iter().copied().filter(move |address| !is_outside(address))
    }

    /// Returns true if callers from outside the cluster can come through this port of the Service.
    #[must_use]
    pub(crate) fn leads_in(&self, port: &ServicePort) -> bool {
        let has_address =
            |outside: &ExternalAccess| !outside.balancer.is_empty() || !outside.external_ips.is_empty();
        // A manifest has neither the NodePort nor the address that the cluster allocates.
        matches!(self.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer)
            || port.node_port.is_some()
            || self.outside.as_deref().is_some_and(has_address)
    }

    /// Returns the port of every node that tells a load balancer whether the node has pods of the Service.
    #[must_use]
    pub(crate) fn health_check(&self) -> Option<NonZeroU16> {
        self.outside.as_ref()?.health_check
    }

    /// Returns the families in which its traffic comes to a pod with these addresses. A manifest may name neither families nor
    /// addresses, and a source may not know the addresses of a pod: then any family counts.
    #[must_use]
    pub(crate) fn families_to(&self, pod: &[IpAddr]) -> Families {
        let any_if_empty = |families: Families| if families.is_empty() { Families::BOTH } else { families };
        let (v4, v6) = self.ip_families;
        let named = Families { v4, v6 };
        let own = if named.is_empty() { Families::of(self.cluster_addresses()) } else { named };
        let own = any_if_empty(own);
        let common = own.and(any_if_empty(Families::of(pod.iter().copied())));
        if common.is_empty() { own } else { common }
    }

    /// Returns true if the Service forwards to the pods that it selects.
    #[must_use]
    pub(crate) fn selects_pods(&self) -> bool {
        !self.selector.is_empty() && self.kind != ServiceKind::ExternalName
    }
}

impl Selector for Service {
    /// Kubernetes namespace.
    fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name within the namespace.
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
    /// Resolves the target port in a pod; `None` if no container declares the named port with this protocol. The pod
    /// is then no endpoint of the port.
    #[must_use]
    pub(crate) fn target_in(&self, pod: &Pod) -> Option<NonZeroU16> {
        match &self.target {
            PortRef::Number(port) => Some(*port),
            PortRef::Name(name) => named_port(pod, name, self.protocol),
        }
    }
}
