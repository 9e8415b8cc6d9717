//! A Kubernetes namespace.

use std::collections::BTreeMap;

/// Metadata of a Kubernetes namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Only `portolan.dev/*`, each bounded by its source.
    pub annotations: BTreeMap<String, String>,
}
