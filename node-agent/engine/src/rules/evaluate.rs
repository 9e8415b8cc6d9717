//! The verdict table: owner, declaration, exposure, policy and traffic of a port give one finding code.

use crate::model::finding_code::FindingCode;
use crate::model::listener::{DeclarationStatus, Exposure};
use crate::model::policy::PolicyVerdict;
use crate::model::reach::Reach;

/// The facts that a verdict is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortFacts {
    /// Owner of the port.
    pub pod: PodFact,
    /// What the manifests say.
    pub declaration: DeclarationStatus,
    /// From where the port can be reached.
    pub exposure: Exposure,
    /// What NetworkPolicies say.
    pub policy: PolicyVerdict,
    /// How far the served callers are away; of an explained port, those beyond its audience.
    pub reach: Reach,
    /// True if a hostPort of the node leads to the port, so anyone who reaches the node reaches the port.
    pub published: bool,
    /// True if a debug container certainly opened one of its sockets.
    pub ephemeral: bool,
}

/// Owner of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodFact {
    /// A pod.
    Known,
    /// A deleted pod. No finding is made.
    Departed,
    /// The node itself.
    Host,
    /// No known pod.
    Unknown,
}

/// Returns the code of the finding; `None` if the facts make none. The farthest traffic takes precedence.
#[must_use]
pub(crate) const fn verdict(facts: &PortFacts) -> Option<FindingCode> {
    match facts.pod {
        PodFact::Departed | PodFact::Host => return None,
        PodFact::Unknown => return Some(FindingCode::Unattributed),
        PodFact::Known => {}
    }
    match (facts.declaration, facts.ephemeral, facts.exposure) {
        (DeclarationStatus::Undeclared, ..) => Some(undeclared(facts)),
        // Nothing explains these calls.
        (DeclarationStatus::Explained, ..) if !matches!(facts.reach, Reach::Nothing | Reach::Node) => {
            Some(undeclared(facts))
        }
        // A debug container never declares ports, and expectations of the pod do not extend to it.
        (_, true, _) => Some(FindingCode::EphemeralContainer),
        (DeclarationStatus::Explained, _, Exposure::Loopback) => Some(FindingCode::UndeclaredLoopback),
        (DeclarationStatus::Explained, ..) => Some(FindingCode::UndeclaredExplained),
        (DeclarationStatus::Declared | DeclarationStatus::Unknown, ..) => None,
    }
}

/// Returns the code of an undeclared port. Traffic that was served takes precedence over addresses and policies.
const fn undeclared(facts: &PortFacts) -> FindingCode {
    let on_node = facts.published || matches!(facts.exposure, Exposure::Host);
    match (facts.reach, facts.ephemeral, facts.exposure, facts.policy) {
        (Reach::External | Reach::Published, ..) => FindingCode::UndeclaredExternal,
        // Every client that reaches the node reaches the port. That the caller was a pod this time is chance.
        (Reach::InCluster, ..) if on_node => FindingCode::UndeclaredExternal,
        (Reach::InCluster, ..) => FindingCode::UndeclaredActive,
        (_, true, ..) => FindingCode::EphemeralContainer,
        (_, _, Exposure::Loopback, _) => FindingCode::UndeclaredLoopback,
        (_, _, Exposure::Host, _) => FindingCode::UndeclaredHost,
        (_, _, Exposure::Pod, PolicyVerdict::Blocked) => FindingCode::UndeclaredBlocked,
        (_, _, Exposure::Pod, _) => FindingCode::UndeclaredReachable,
    }
}
