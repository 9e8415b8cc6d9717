//! The ports of one pod that a container or a Service expects to be served. Resolved once per change of the pod or its
//! Services; judging a port only looks the answer up.

use std::collections::BTreeMap;

use crate::model::identity::ProtocolPort;
use crate::rules::declaration::{ought_to_listen, service_targets};
use crate::rules::manifests::Manifests;

/// Ports of one pod of which it is known that they are expected: Services may name all there are.
const MAX_EXPECTED: usize = 4096;

/// Who expects a port to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedBy {
    /// A container that declares it and ought to run.
    pub declared: bool,
    /// A Service that sends to it.
    pub targeted: bool,
}

/// The ports that are expected, the lowest ones where there are too many.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    ports: BTreeMap<ProtocolPort, ExpectedBy>,
    /// How often one was left out.
    pub beyond: usize,
}

impl Expectations {
    #[must_use]
    pub fn of(manifests: Manifests<'_>) -> Self {
        let mut expected = Self::default();
        ought_to_listen(manifests.pod).for_each(|at| expected.add(at, |expects| expects.declared = true));
        service_targets(manifests).for_each(|at| expected.add(at, |expects| expects.targeted = true));
        expected
    }

    fn add(&mut self, at: ProtocolPort, by: impl Fn(&mut ExpectedBy)) {
        by(self.ports.entry(at).or_default());
        if self.ports.len() > MAX_EXPECTED {
            self.ports.pop_last();
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    #[must_use]
    pub fn get(&self, at: ProtocolPort) -> Option<ExpectedBy> {
        self.ports.get(&at).copied()
    }

    pub fn ports(&self) -> impl Iterator<Item = ProtocolPort> {
        self.ports.keys().copied()
    }
}
