//! How objects select pods of their own Kubernetes namespace by labels.

use std::collections::BTreeMap;

/// Whether a selector matches a pod; ordered by certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selects {
    /// No match.
    No,
    /// The selector contains something that this version does not understand.
    Maybe,
    /// A match.
    Yes,
}

/// An object that selects pods of its own namespace by their labels.
pub trait Selector: PartialEq {
    /// Returns the object's namespace.
    fn namespace(&self) -> &str;
    /// Returns the object's name.
    fn name(&self) -> &str;
    /// Returns sets of labels; a selected pod has at least one label of each set. An empty set means that nothing is
    /// selected.
    fn needs(&self) -> Vec<Vec<(&str, &str)>>;
    /// Returns whether a pod with these labels is selected.
    fn selects(&self, labels: &BTreeMap<String, String>) -> Selects;
}
