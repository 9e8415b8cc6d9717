//! A Service as the engine knows it: which pods it selects, and which of their ports it sends traffic to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::identity::Protocol;
use super::pod::PortRef;

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
