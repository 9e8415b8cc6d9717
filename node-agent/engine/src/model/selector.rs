//! How objects select pods of their own Kubernetes namespace by labels.

use std::collections::BTreeMap;

/// Whether a selector means a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selects {
    No,
    /// The selector says something that this version does not understand.
    Maybe,
    Yes,
}

/// An object that selects pods of its own namespace by their labels.
pub trait Selector: PartialEq {
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
    /// Sets of labels, of each of which a selected pod has at least one. An empty set: nothing is selected.
    fn needs(&self) -> Vec<Vec<(&str, &str)>>;
    fn selects(&self, labels: &BTreeMap<String, String>) -> Selects;
}
