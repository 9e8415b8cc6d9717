//! A NetworkPolicy's ingress half as the engine knows it: which pods it isolates, and which of their ports it admits.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::identity::Protocol;
use super::pod::PortRef;

/// A NetworkPolicy that has ingress among its types; others are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    pub namespace: String,
    pub name: String,
    pub selector: LabelSelector,
    /// Empty: admits nothing.
    pub ingress: Vec<IngressRule>,
}

/// One entry of `spec.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressRule {
    /// Empty: every port.
    pub ports: Vec<AdmittedPort>,
    /// How many peers it names; 0: from everywhere.
    pub peers: usize,
}

/// One entry of a rule's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedPort {
    pub protocol: Protocol,
    /// `None`: every port of the protocol.
    pub port: Option<PortRef>,
    /// Last port of a range that begins with `port`.
    pub end_port: Option<NonZeroU16>,
}

/// A label selector; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub labels: BTreeMap<String, String>,
    pub expressions: Vec<LabelExpression>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelExpression {
    pub key: String,
    pub operator: LabelOperator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    /// One that this version does not know: selects nothing for certain, so the policy fact becomes unknown.
    Unknown,
}
