//! The ports of one pod that a container or a Service expects to be served. Resolved once per change of the pod or its
//! Services; judging a port only looks the answer up.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use crate::model::families::Families;
use crate::model::fingerprint::target_name_id;
use crate::model::identity::{Protocol, ProtocolPort};
use crate::model::pod::{Pod, PortRef, can_declare};
use crate::model::service::{Service, ServicePort};
use crate::rules::declaration::{ought_to_listen, resolved_targets};
use crate::rules::manifests::Manifests;

/// Maximum number of expected ports kept per pod. Services may name every port there is.
const MAX_EXPECTED: usize = 4096;

/// Maximum number of missing port names kept per pod.
const MAX_MISSING: usize = 64;

/// What expects a port to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExpectedBy {
    /// A container that declares the port and should run.
    pub declared: bool,
    /// The families in which Services send to the port of a pod that is ready; empty if none does.
    pub targeted: Families,
    /// The same for a pod that is not ready.
    pub targeted_not_ready: Families,
}

impl ExpectedBy {
    /// Returns the families in which Services send to the port of this pod now.
    pub(crate) fn sent_to(self, pod: &Pod) -> Families {
        if pod.is_service_ready() { self.targeted } else { self.targeted_not_ready }
    }
}

/// A named target of a Service that no container of the pod declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingName {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Port of the Service.
    pub port: NonZeroU16,
    /// Protocol of the Service's port.
    pub protocol: Protocol,
    /// The name.
    pub name: String,
    /// Another protocol for which a container declares the name.
    pub declared_for: Option<Protocol>,
}

/// The expected ports of one pod; the lowest ones if there are too many.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expectations {
    ports: BTreeMap<ProtocolPort, ExpectedBy>,
    /// Named targets that a container declares.
    resolved: BTreeSet<u64>,
    /// Named targets that no container declares; the first ones if there are too many.
    missing: BTreeMap<u64, MissingName>,
    /// Number of times that a port was left out.
    pub beyond: usize,
}

impl Expectations {
    /// Resolves the expectations of a pod.
    #[must_use]
    pub(crate) fn of(manifests: Manifests<'_>) -> Self {
        let mut expected = Self::default();
        ought_to_listen(manifests.pod).for_each(|at| expected.add(at, |expects| expects.declared = true));
        let services = manifests.services.iter().map(|(service, _)| &**service);
        for (service, entry, port) in resolved_targets(manifests.pod, services) {
            if let PortRef::Name(name) = &entry.target {
                expected.add_name(manifests.pod, service, entry, name, port.is_some());
            }
            if let Some(port) = port {
                let families = service.families_to(&manifests.pod.addresses);
                let not_ready = if service.publishes_not_ready { families } else { Families::default() };
                expected.add((entry.protocol, port), |expects| {
                    expects.targeted = expects.targeted.or(families);
                    expects.targeted_not_ready = expects.targeted_not_ready.or(not_ready);
                });
            }
        }
        expected
    }

    fn add(&mut self, at: ProtocolPort, by: impl Fn(&mut ExpectedBy)) {
        by(self.ports.entry(at).or_default());
        if self.ports.len() > MAX_EXPECTED {
            self.ports.pop_last();
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    fn add_name(&mut self, pod: &Pod, service: &Service, entry: &ServicePort, name: &str, resolves: bool) {
        let id = target_name_id(&service.namespace, &service.name, entry.protocol, entry.port.get(), name);
        if resolves {
            if self.resolved.len() < MAX_EXPECTED {
                self.resolved.insert(id);
            } else {
                self.beyond = self.beyond.saturating_add(1);
            }
            return;
        }
        self.missing.entry(id).or_insert_with(|| MissingName {
            namespace: service.namespace.clone(),
            service: service.name.clone(),
            port: entry.port,
            protocol: entry.protocol,
            name: name.to_owned(),
            declared_for: protocol_of(pod, name),
        });
        if self.missing.len() > MAX_MISSING {
            self.missing.pop_last();
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// Returns what expects this port.
    #[must_use]
    pub(crate) fn get(&self, at: ProtocolPort) -> Option<ExpectedBy> {
        self.ports.get(&at).copied()
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = ProtocolPort> {
        self.ports.keys().copied()
    }

    /// Returns the named targets that a container declares.
    pub(crate) fn resolved(&self) -> impl Iterator<Item = u64> {
        self.resolved.iter().copied()
    }

    /// Returns the named targets that no container declares.
    pub(crate) fn missing(&self) -> impl Iterator<Item = u64> {
        self.missing.keys().copied()
    }

    /// Returns a named target that no container declares.
    #[must_use]
    pub(crate) fn missing_name(&self, id: u64) -> Option<&MissingName> {
        self.missing.get(&id)
    }
}

/// Returns a protocol for which a container declares the name.
fn protocol_of(pod: &Pod, name: &str) -> Option<Protocol> {
    let mut ports = pod.containers.iter().filter(|container| can_declare(container)).flat_map(|c| &c.ports);
    ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.protocol)
}
