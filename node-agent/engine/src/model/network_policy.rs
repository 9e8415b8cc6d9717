//! The ingress half of a NetworkPolicy: which pods it isolates, and which of their ports it admits.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use crate::model::identity::Protocol;
use crate::model::pod::PortRef;
use crate::model::selector::{Selector, Selects};

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

impl Selector for NetworkPolicy {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> Vec<Vec<(&str, &str)>> {
        let labels = self.selector.labels.iter().map(|(key, value)| vec![(key.as_str(), value.as_str())]);
        let among = self.selector.expressions.iter().filter(|one| one.operator == LabelOperator::In);
        let among =
            among.map(|one| one.values.iter().map(|value| (one.key.as_str(), value.as_str())).collect());
        labels.chain(among).collect()
    }

    fn selects(&self, labels: &BTreeMap<String, String>) -> Selects {
        self.selector.selects(labels)
    }
}

impl LabelSelector {
    /// Whether it means a pod with these labels: every part of it must.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> Selects {
        if !self.labels.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            return Selects::No;
        }
        self.expressions.iter().map(|one| one.selects(labels)).min().unwrap_or(Selects::Yes)
    }
}

impl LabelExpression {
    fn selects(&self, labels: &BTreeMap<String, String>) -> Selects {
        let value = labels.get(&self.key);
        let among = value.is_some_and(|value| self.values.contains(value));
        let holds = match self.operator {
            LabelOperator::In => among,
            // Also where the pod has no such label.
            LabelOperator::NotIn => !among,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
            LabelOperator::Unknown => return Selects::Maybe,
        };
        if holds { Selects::Yes } else { Selects::No }
    }
}
