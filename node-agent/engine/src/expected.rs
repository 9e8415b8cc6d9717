//! The ports of one pod that somebody expects to be served, and those of them that nobody serves. Expectations are resolved
//! once each time the pod or its Services change: a port that comes, goes or is looked at again only asks for the answer.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::declaration::{Manifests, ought_to_listen, service_targets};
use super::identity::{BootTime, Protocol};

/// Ports of one pod of which it is known that they are expected: Services may name all there are.
const MAX_EXPECTED: usize = 4096;

/// A port of a pod.
pub type At = (Protocol, NonZeroU16);

/// Who expects a port to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expects {
    /// A container that declares it and ought to run.
    pub declared: bool,
    /// A Service that sends to it.
    pub targeted: bool,
}

/// The ports that are expected, the lowest ones where there are too many.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    ports: BTreeMap<At, Expects>,
    /// How often one was left out.
    pub beyond: usize,
}

impl Expected {
    #[must_use]
    pub fn of(manifests: Manifests<'_>) -> Self {
        let mut expected = Self::default();
        ought_to_listen(manifests.pod).for_each(|at| expected.add(at, |expects| expects.declared = true));
        service_targets(manifests).for_each(|at| expected.add(at, |expects| expects.targeted = true));
        expected
    }

    fn add(&mut self, at: At, by: impl Fn(&mut Expects)) {
        by(self.ports.entry(at).or_default());
        if self.ports.len() > MAX_EXPECTED {
            self.ports.pop_last();
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    #[must_use]
    pub fn get(&self, at: At) -> Option<Expects> {
        self.ports.get(&at).copied()
    }

    pub fn ports(&self) -> impl Iterator<Item = At> {
        self.ports.keys().copied()
    }
}

/// Ports that ought to be served and are not, and since when; the lowest ones where there are too many.
#[derive(Debug, Default)]
pub struct Silent {
    since: BTreeMap<At, BootTime>,
    /// How many were left out since they were all looked at last.
    pub beyond: usize,
}

impl Silent {
    #[must_use]
    pub fn since(&self, at: At) -> Option<BootTime> {
        self.since.get(&at).copied()
    }

    /// Takes a port in; returns the one for which there is no room, which may be the same.
    pub fn begin(&mut self, at: At, now: BootTime, cap: usize) -> Option<At> {
        self.since.entry(at).or_insert(now);
        if self.since.len() <= cap {
            return None;
        }
        self.beyond = self.beyond.saturating_add(1);
        self.since.pop_last().map(|(last, _)| last)
    }

    /// True if it was silent until now.
    pub fn end(&mut self, at: At) -> bool {
        self.since.remove(&at).is_some()
    }

    pub fn ports(&self) -> impl Iterator<Item = At> {
        self.since.keys().copied()
    }
}
