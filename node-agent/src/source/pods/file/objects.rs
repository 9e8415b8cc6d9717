//! The objects of all manifests, and the engine's inputs that lead from one reading to the next.

use std::collections::BTreeMap;

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::network_policy::NetworkPolicy;
use portolan_engine::model::pod::Pod;
use portolan_engine::model::service::Service;

use super::SOURCE;
use super::object_name::{ObjectName, name_of_pod};

/// The objects of all manifests; of several objects with one identity, the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    pub pods: Vec<Pod>,
    pub services: Vec<Service>,
    /// True if the manifests hold a Service, so that a pod without one has none.
    pub services_known: bool,
    pub policies: Vec<NetworkPolicy>,
    /// True if the manifests hold a NetworkPolicy, also one that is about egress only.
    pub policies_known: bool,
    pub namespaces: Vec<Namespace>,
}

impl Objects {
    /// Returns the engine's inputs that lead from `before` to these objects. A kind without an object stays unknown, since a
    /// file without a NetworkPolicy does not mean that the cluster has none. If `before` had objects of the kind, the kind
    /// becomes unavailable.
    #[must_use]
    pub fn inputs(self, before: Option<&Self>) -> Vec<Input> {
        let first = before.is_none();
        let before = before.cloned().unwrap_or_default();
        let mut inputs = Vec::new();
        // Pods come last, so that no port is judged before the objects that declare and admit it are known.
        let (known, was_known) = (!self.namespaces.is_empty(), !before.namespaces.is_empty());
        let namespaces = listing((self.namespaces, known), (&before.namespaces, was_known));
        inputs.extend(namespaces.map(Input::Namespaces));
        let services =
            listing((self.services, self.services_known), (&before.services, before.services_known));
        inputs.extend(services.map(Input::Services));
        let policies =
            listing((self.policies, self.policies_known), (&before.policies, before.policies_known));
        inputs.extend(policies.map(Input::NetworkPolicies));
        if first || self.pods != before.pods {
            inputs.push(Input::Pods { source: SOURCE, pods: self.pods });
        }
        inputs
    }

    /// True if there is no object at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the objects of an earlier reading that are missing here, and that `stays` names.
    pub fn add_missing(&mut self, before: &Self, stays: impl Fn(&ObjectName) -> bool) {
        let named = |kind: &str, namespace: &str, name: &str| ObjectName {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let staying = |one: &&Pod| stays(&name_of_pod(one));
        add(&mut self.pods, before.pods.iter().filter(staying), |pod| pod.uid.clone());
        let staying = |one: &&Service| stays(&named("Service", &one.namespace, &one.name));
        add(&mut self.services, before.services.iter().filter(staying), service_key);
        let staying = |one: &&NetworkPolicy| stays(&named("NetworkPolicy", &one.namespace, &one.name));
        add(&mut self.policies, before.policies.iter().filter(staying), policy_key);
        let staying = |one: &&Namespace| stays(&named("Namespace", "default", &one.name));
        add(&mut self.namespaces, before.namespaces.iter().filter(staying), |one| one.name.clone());
        self.services_known |= !self.services.is_empty();
        self.policies_known |= !self.policies.is_empty();
    }

    /// Keeps the last of several objects with one identity.
    pub(super) fn keep_last_of_each(&mut self) {
        keep_last(&mut self.pods, |pod| pod.uid.clone());
        keep_last(&mut self.services, service_key);
        keep_last(&mut self.policies, policy_key);
        keep_last(&mut self.namespaces, |one| one.name.clone());
    }
}

fn service_key(one: &Service) -> (String, String) {
    (one.namespace.clone(), one.name.clone())
}

fn policy_key(one: &NetworkPolicy) -> (String, String) {
    (one.namespace.clone(), one.name.clone())
}

fn listing<T: PartialEq>(now: (Vec<T>, bool), before: (&Vec<T>, bool)) -> Option<Listing<T>> {
    let (all, is_known) = now;
    if (&all, is_known) == before {
        None
    } else if is_known {
        Some(Listing::All(all))
    } else {
        Some(Listing::Unavailable)
    }
}

fn keep_last<T, K: Ord>(all: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let each: BTreeMap<K, T> = std::mem::take(all).into_iter().map(|one| (key(&one), one)).collect();
    *all = each.into_values().collect();
}

fn add<'a, T: Clone + 'a, K: Ord>(
    now: &mut Vec<T>,
    before: impl Iterator<Item = &'a T>,
    key: impl Fn(&T) -> K,
) {
    let known: std::collections::BTreeSet<K> = now.iter().map(&key).collect();
    now.extend(before.filter(|one| !known.contains(&key(one))).cloned());
    keep_last(now, key);
}
