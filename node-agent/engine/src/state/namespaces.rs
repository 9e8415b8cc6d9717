//! The known Kubernetes namespaces, and the exceptions that their annotations make.

use std::collections::BTreeMap;

use crate::model::listing::Listing;
use crate::model::namespace::Namespace;
use crate::rules::exception_annotation::{Annotated, OF_NAMESPACE};

/// All namespaces, as far as they were told.
#[derive(Debug, Default)]
pub struct Namespaces {
    all: BTreeMap<String, Namespace>,
    /// Of those whose annotations make one, or try to.
    exceptions: BTreeMap<String, Annotated>,
}

impl Namespaces {
    /// Returns the names of those whose exception is another now.
    pub fn take(&mut self, listing: Listing<Namespace>) -> Vec<String> {
        let before = self.exceptions.clone();
        match listing {
            Listing::All(all) => {
                self.all = all.into_iter().map(|one| (one.name.clone(), one)).collect();
                self.exceptions = self.all.values().filter_map(exception).collect();
            }
            Listing::Changed(one) => {
                self.exceptions.remove(&one.name);
                self.exceptions.extend(exception(&one));
                self.all.insert(one.name.clone(), *one);
            }
            Listing::Gone { name, .. } => {
                self.exceptions.remove(&name);
                self.all.remove(&name);
            }
            Listing::Unavailable => {
                self.exceptions.clear();
                self.all.clear();
            }
        }
        let gone = before.iter().filter(|(name, one)| self.exceptions.get(*name) != Some(one));
        let come = self.exceptions.iter().filter(|(name, one)| before.get(*name) != Some(one));
        let mut changed: Vec<String> = gone.chain(come).map(|(name, _)| name.clone()).collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Namespace> {
        self.all.get(name)
    }

    /// What its annotations amount to.
    #[must_use]
    pub fn exception(&self, name: &str) -> &Annotated {
        self.exceptions.get(name).unwrap_or(&Annotated::Nothing)
    }
}

fn exception(namespace: &Namespace) -> Option<(String, Annotated)> {
    let annotated = Annotated::of(OF_NAMESPACE, &namespace.annotations);
    (annotated != Annotated::Nothing).then(|| (namespace.name.clone(), annotated))
}
