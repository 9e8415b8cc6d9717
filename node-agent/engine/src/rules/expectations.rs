//! The ports of one pod that a container or a Service expects to be served. Resolved once per change of the pod or its
//! Services; judging a port only looks the answer up.

use std::collections::BTreeMap;

use crate::model::identity::ProtocolPort;
use crate::rules::declaration::{ought_to_listen, service_targets, targets_of};
use crate::rules::manifests::Manifests;

/// Maximum number of expected ports kept per pod. Services may name every port there is.
const MAX_EXPECTED: usize = 4096;

/// What expects a port to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExpectedBy {
    /// A container that declares the port and should run.
    pub declared: bool,
    /// A Service that sends to the port while the pod is ready.
    pub targeted: bool,
    /// A Service that sends to the port even if the pod is not ready.
    pub targeted_not_ready: bool,
}

/// The expected ports of one pod; the lowest ones if there are too many.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expectations {
    ports: BTreeMap<ProtocolPort, ExpectedBy>,
    /// Number of times that a port was left out.
    pub beyond: usize,
}

impl Expectations {
    /// Resolves the expectations of a pod.
    #[must_use]
    pub(crate) fn of(manifests: Manifests<'_>) -> Self {
        let mut expected = Self::default();
        ought_to_listen(manifests.pod).for_each(|at| expected.add(at, |expects| expects.declared = true));
        service_targets(manifests).for_each(|at| expected.add(at, |expects| expects.targeted = true));
        let publishing = manifests.services.iter().map(|(service, _)| &**service);
        let publishing = publishing.filter(|service| service.publishes_not_ready);
        targets_of(manifests.pod, publishing)
            .for_each(|at| expected.add(at, |expects| expects.targeted_not_ready = true));
        expected
    }

    fn add(&mut self, at: ProtocolPort, by: impl Fn(&mut ExpectedBy)) {
        by(self.ports.entry(at).or_default());
        if self.ports.len() > MAX_EXPECTED {
            self.ports.pop_last();
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
}
