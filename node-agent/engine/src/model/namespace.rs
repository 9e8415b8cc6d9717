//! A Kubernetes namespace.

use std::collections::BTreeMap;

/// A namespace's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Only `portolan.dev/*`, each bounded by its source.
    pub annotations: BTreeMap<String, String>,
}
