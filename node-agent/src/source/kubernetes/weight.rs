//! Estimates the memory that an object takes, allocator overhead included. The estimate bounds how much memory anybody who
//! may create objects can make the agent use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use portolan_engine::model::identity::PodUid;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::network_policy::{
    AdmittedPort, IngressRule, LabelExpression, LabelSelector, NetworkPolicy, PolicyPeer,
};
use portolan_engine::model::pod::{Container, DeclaredPort, Pod, PortRef, ProbePort, Workload};
use portolan_engine::model::service::{ExternalAccess, Service, ServicePort};

/// Overhead of the allocator per allocation, in bytes.
const OVERHEAD: usize = 16;
/// Entries of a `BTreeMap` node; the estimate assumes that half of them are used.
const NODE: usize = 11;

/// A type whose memory can be estimated.
pub trait Weigh {
    /// Returns the bytes of the value's own allocations, without the value itself.
    fn pieces(&self) -> usize;
}

/// Returns the bytes of a value on the heap and of the value's own allocations.
#[must_use]
pub fn weight<T: Weigh>(of: &T) -> usize {
    size_of::<T>() + OVERHEAD + of.pieces()
}

impl Weigh for IpAddr {
    fn pieces(&self) -> usize {
        0
    }
}

impl Weigh for String {
    fn pieces(&self) -> usize {
        if self.is_empty() { 0 } else { self.len() + OVERHEAD }
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn pieces(&self) -> usize {
        self.as_ref().map_or(0, Weigh::pieces)
    }
}

impl<T: Weigh> Weigh for Box<T> {
    fn pieces(&self) -> usize {
        weight(self.as_ref())
    }
}

impl<T: Weigh> Weigh for Vec<T> {
    fn pieces(&self) -> usize {
        let overhead = if self.is_empty() { 0 } else { OVERHEAD };
        overhead + size_of_val(self.as_slice()) + self.iter().map(Weigh::pieces).sum::<usize>()
    }
}

impl Weigh for BTreeMap<String, String> {
    fn pieces(&self) -> usize {
        let nodes = self.len().div_ceil(NODE / 2) * (NODE * 2 * size_of::<String>() + OVERHEAD);
        nodes + self.iter().map(|(key, value)| key.pieces() + value.pieces()).sum::<usize>()
    }
}

impl Weigh for PodUid {
    fn pieces(&self) -> usize {
        self.0.pieces()
    }
}

impl Weigh for (String, String) {
    fn pieces(&self) -> usize {
        self.0.pieces() + self.1.pieces()
    }
}

impl Weigh for PortRef {
    fn pieces(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Name(name) => name.pieces(),
        }
    }
}

impl Weigh for Pod {
    fn pieces(&self) -> usize {
        let names = self.uid.pieces() + self.mirror.pieces() + self.namespace.pieces() + self.name.pieces();
        let maps = self.labels.pieces() + self.annotations.pieces();
        let rest = self.netns_path.pieces() + self.opaque_runtime.pieces() + self.addresses.pieces();
        names + maps + rest + self.workload.pieces() + self.containers.pieces()
    }
}

impl Weigh for Workload {
    fn pieces(&self) -> usize {
        self.kind.pieces() + self.name.pieces()
    }
}

impl Weigh for Container {
    fn pieces(&self) -> usize {
        let names = self.name.pieces() + self.id.pieces() + self.image.pieces();
        let names = names + self.image_digest.pieces();
        names + self.ports.pieces() + self.probes.pieces()
    }
}

impl Weigh for DeclaredPort {
    fn pieces(&self) -> usize {
        self.name.pieces()
    }
}

impl Weigh for ProbePort {
    fn pieces(&self) -> usize {
        self.port.pieces()
    }
}

impl Weigh for Service {
    fn pieces(&self) -> usize {
        let names = self.namespace.pieces() + self.name.pieces() + self.selector.pieces();
        names + self.ports.pieces() + self.addresses.pieces() + self.outside.pieces()
    }
}

impl Weigh for ServicePort {
    fn pieces(&self) -> usize {
        self.name.pieces() + self.target.pieces()
    }
}

impl Weigh for ExternalAccess {
    fn pieces(&self) -> usize {
        self.balancer.pieces() + self.external_ips.pieces()
    }
}

impl Weigh for NetworkPolicy {
    fn pieces(&self) -> usize {
        self.namespace.pieces() + self.name.pieces() + self.selector.pieces() + self.ingress.pieces()
    }
}

impl Weigh for LabelSelector {
    fn pieces(&self) -> usize {
        self.labels.pieces() + self.expressions.pieces()
    }
}

impl Weigh for LabelExpression {
    fn pieces(&self) -> usize {
        self.key.pieces() + self.values.pieces()
    }
}

impl Weigh for IngressRule {
    fn pieces(&self) -> usize {
        self.ports.pieces() + self.peers.pieces()
    }
}

impl Weigh for PolicyPeer {
    fn pieces(&self) -> usize {
        match self {
            Self::IpBlock { except, .. } => except.pieces(),
            Self::Pods { namespaces, pods } => namespaces.pieces() + pods.pieces(),
            Self::Unknown => 0,
        }
    }
}

impl Weigh for IpNet {
    fn pieces(&self) -> usize {
        0
    }
}

impl Weigh for AdmittedPort {
    fn pieces(&self) -> usize {
        self.port.pieces()
    }
}

impl Weigh for Namespace {
    fn pieces(&self) -> usize {
        self.name.pieces() + self.labels.pieces() + self.annotations.pieces()
    }
}
