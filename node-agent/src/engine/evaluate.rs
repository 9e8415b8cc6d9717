//! Four facts, one code: whose the port is, what declares it, from where it can be reached, and what reached it.

use super::change::{DeclarationStatus, Exposure, FindingCode};
use super::traffic::Reach;

/// What a verdict is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub pod: PodFact,
    pub declaration: DeclarationStatus,
    pub exposure: Exposure,
    pub reach: Reach,
    /// Certainly opened by a debug container.
    pub ephemeral: bool,
}

/// Whose a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodFact {
    Known,
    /// The pod was deleted: nothing is said of it any more.
    Departed,
    /// The node's own.
    Host,
    Unknown,
}

/// The code of the finding, if the facts make one. The worst traffic wins over all else.
#[must_use]
pub const fn verdict(facts: &Facts) -> Option<FindingCode> {
    match facts.pod {
        PodFact::Departed | PodFact::Host => return None,
        PodFact::Unknown => return Some(FindingCode::Unattributed),
        PodFact::Known => {}
    }
    if matches!(facts.declaration, DeclarationStatus::Declared | DeclarationStatus::Explained) {
        return None;
    }
    Some(match (facts.reach, facts.ephemeral, facts.exposure) {
        (Reach::External, ..) => FindingCode::UndeclaredExternal,
        (Reach::InCluster, ..) => FindingCode::UndeclaredActive,
        (_, true, _) => FindingCode::EphemeralContainer,
        (_, _, Exposure::Loopback) => FindingCode::UndeclaredLoopback,
        (_, _, Exposure::Host) => FindingCode::UndeclaredHost,
        (_, _, Exposure::Pod) => FindingCode::UndeclaredReachable,
    })
}
