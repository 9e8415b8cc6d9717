//! A Kubernetes namespace as the engine knows it.

use std::collections::BTreeMap;

use super::input::Listing;

/// A namespace's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Only `portolan.dev/*`, each bounded by its source.
    pub annotations: BTreeMap<String, String>,
}

/// All namespaces, as far as they were told.
#[derive(Debug, Default)]
pub struct Namespaces {
    all: BTreeMap<String, Namespace>,
}

impl Namespaces {
    pub fn take(&mut self, listing: Listing<Namespace>) {
        match listing {
            Listing::All(all) => self.all = all.into_iter().map(|one| (one.name.clone(), one)).collect(),
            Listing::Changed(one) => {
                self.all.insert(one.name.clone(), *one);
            }
            Listing::Gone { name, .. } => {
                self.all.remove(&name);
            }
            Listing::Unavailable => self.all.clear(),
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Namespace> {
        self.all.get(name)
    }
}
