//! The ingress half of a NetworkPolicy: which pods it isolates, and which of their ports it admits.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use ipnet::IpNet;

use crate::model::identity::Protocol;
use crate::model::pod::PortRef;
use crate::model::selector::{Selector, Selects};

/// A NetworkPolicy with `Ingress` among its policy types. Sources drop the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
    /// `spec.podSelector`.
    pub selector: LabelSelector,
    /// `spec.ingress`. Empty: admits nothing.
    pub ingress: Vec<IngressRule>,
}

/// One entry of `spec.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressRule {
    /// Admitted ports. Empty: every port.
    pub ports: Vec<AdmittedPort>,
    /// Entries of `from`. Empty: from everywhere.
    pub peers: Vec<PolicyPeer>,
}

/// One entry of a rule's `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyPeer {
    /// `ipBlock`: the addresses of a network, without some networks within it.
    IpBlock {
        /// `cidr`.
        cidr: IpNet,
        /// `except`.
        except: Vec<IpNet>,
    },
    /// `namespaceSelector` and `podSelector`: pods by their labels.
    Pods {
        /// Selects namespaces; `None`: the namespace of the policy.
        namespaces: Option<LabelSelector>,
        /// Selects pods; `None`: every pod of these namespaces.
        pods: Option<LabelSelector>,
    },
    /// An entry that could not be read, or all entries beyond those that a source keeps. May admit anybody.
    Unknown,
}

/// One entry of a rule's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedPort {
    /// Protocol; TCP where the manifest has none.
    pub protocol: Protocol,
    /// The port, or the first port of a range; `None`: every port of the protocol.
    pub port: Option<PortRef>,
    /// Last port of a range that begins with `port`.
    pub end_port: Option<NonZeroU16>,
}

/// A label selector; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// `matchLabels`.
    pub labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub expressions: Vec<LabelExpression>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelExpression {
    /// Label key.
    pub key: String,
    /// How the label is compared with `values`.
    pub operator: LabelOperator,
    /// Values; empty for `Exists` and `DoesNotExist`.
    pub values: Vec<String>,
}

/// Operator of a label expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or the pod does not have the label.
    NotIn,
    /// The pod has the label.
    Exists,
    /// The pod does not have the label.
    DoesNotExist,
    /// An operator that this version does not know. Selects nothing for certain, so the policy fact becomes unknown.
    Unknown,
}

impl Selector for NetworkPolicy {
    /// Kubernetes namespace.
    fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name within the namespace.
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
    /// Returns whether the selector matches these labels: every part of it must match.
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
            // Also true if the pod does not have the label.
            LabelOperator::NotIn => !among,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
            LabelOperator::Unknown => return Selects::Maybe,
        };
        if holds { Selects::Yes } else { Selects::No }
    }
}
