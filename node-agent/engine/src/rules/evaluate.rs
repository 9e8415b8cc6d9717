//! The verdict table: owner, declaration, exposure, policy and traffic of a port give one finding code.

use crate::model::finding_code::FindingCode;
use crate::model::listener::{DeclarationStatus, Exposure};
use crate::model::policy::PolicyVerdict;
use crate::model::reach::Reach;

/// What a verdict is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub pod: PodFact,
    pub declaration: DeclarationStatus,
    pub exposure: Exposure,
    pub policy: PolicyVerdict,
    pub reach: Reach,
    /// A port of the node leads to it, whoever comes: a hostPort.
    pub published: bool,
    /// A socket of it was certainly opened by a debug container.
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
    match (facts.declaration, facts.ephemeral, facts.exposure) {
        (DeclarationStatus::Undeclared, ..) => Some(undeclared(facts)),
        // A debug container can never declare, and what is expected of the pod is not expected of it.
        (_, true, _) => Some(FindingCode::EphemeralContainer),
        (DeclarationStatus::Explained, _, Exposure::Loopback) => Some(FindingCode::UndeclaredLoopback),
        (DeclarationStatus::Explained, ..) => Some(FindingCode::UndeclaredExplained),
        (DeclarationStatus::Declared | DeclarationStatus::Unknown, ..) => None,
    }
}

/// Traffic that was served beats what the addresses and the policies promise.
const fn undeclared(facts: &Facts) -> FindingCode {
    let on_node = facts.published || matches!(facts.exposure, Exposure::Host);
    match (facts.reach, facts.ephemeral, facts.exposure, facts.policy) {
        (Reach::External | Reach::Published, ..) => FindingCode::UndeclaredExternal,
        // Whoever reaches the node reaches the port: that it was a pod this time is luck.
        (Reach::InCluster, ..) if on_node => FindingCode::UndeclaredExternal,
        (Reach::InCluster, ..) => FindingCode::UndeclaredActive,
        (_, true, ..) => FindingCode::EphemeralContainer,
        (_, _, Exposure::Loopback, _) => FindingCode::UndeclaredLoopback,
        (_, _, Exposure::Host, _) => FindingCode::UndeclaredHost,
        (_, _, Exposure::Pod, PolicyVerdict::Blocked) => FindingCode::UndeclaredBlocked,
        (_, _, Exposure::Pod, _) => FindingCode::UndeclaredReachable,
    }
}
