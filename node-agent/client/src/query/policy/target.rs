//! Parses the target of `portolan policy`: a pod, or a workload with its kind in any form that kubectl accepts.

use std::fmt;

use portolan_report::escape::terminal;

use super::error::PolicyError;

/// Kinds of workloads, each with the names that kubectl accepts.
const KINDS: [(&str, &[&str]); 7] = [
    ("Deployment", &["deployment", "deployments", "deploy"]),
    ("StatefulSet", &["statefulset", "statefulsets", "sts"]),
    ("DaemonSet", &["daemonset", "daemonsets", "ds"]),
    ("ReplicaSet", &["replicaset", "replicasets", "rs"]),
    ("ReplicationController", &["replicationcontroller", "replicationcontrollers", "rc"]),
    ("Job", &["job", "jobs"]),
    ("CronJob", &["cronjob", "cronjobs", "cj"]),
];
/// Names that kubectl accepts for pods.
const POD: [&str; 3] = ["pod", "pods", "po"];

/// Target of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyTarget {
    /// Kubernetes namespace; `None`: any.
    namespace: Option<String>,
    /// Kind of the workload; `None`: the target is a pod.
    kind: Option<String>,
    name: String,
}

impl PolicyTarget {
    /// Parses `NAMESPACE/POD`, `KIND/NAME`, `NAMESPACE/KIND/NAME` or `POD`.
    ///
    /// With `-n`, the first of two parts may also be a custom kind, if it begins with a capital letter.
    pub(crate) fn parse(given: &str, namespace: Option<&str>) -> Result<Self, PolicyError> {
        let parts: Vec<&str> = given.split('/').collect();
        let (place, kind, name) = match parts.as_slice() {
            [name] => (None, None, *name),
            [kind, name] if is_kind(kind) => (None, Some(*kind), *name),
            [kind, name] if namespace.is_some() && kind.starts_with(char::is_uppercase) => {
                (None, Some(*kind), *name)
            }
            [place, name] => (Some(*place), None, *name),
            [place, kind, name] => (Some(*place), Some(*kind), *name),
            _ => return Err(bad(given)),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(bad(given));
        }
        if let (Some(place), Some(namespace)) = (place, namespace)
            && place != namespace
        {
            let [given, place, namespace] = [given, place, namespace].map(str::to_owned);
            return Err(PolicyError::TwoNamespaces { given, place, namespace });
        }
        Ok(Self {
            namespace: place.or(namespace).map(str::to_owned),
            kind: kind.filter(|kind| !is_pod(kind)).map(full_kind),
            name: name.to_owned(),
        })
    }

    /// Returns the target of a workload.
    #[cfg(feature = "cluster")]
    pub(crate) fn workload(namespace: &str, kind: &str, name: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), kind: Some(kind.to_owned()), name: name.to_owned() }
    }

    /// Returns true if the target is a pod.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_pod(&self) -> bool {
        self.kind.is_none()
    }

    /// Returns the query parameters of `/v1/policy`.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<_> = self.namespace.iter().map(|it| ("namespace", it.clone())).collect();
        pairs.push(match &self.kind {
            Some(kind) => ("workload", format!("{kind}/{}", self.name)),
            None => ("pod", self.name.clone()),
        });
        pairs
    }
}

impl fmt::Display for PolicyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_deref().unwrap_or("pod").to_lowercase();
        write!(f, "{}/{}", terminal(&kind), terminal(&self.name))?;
        self.namespace.iter().try_for_each(|it| write!(f, " of namespace {}", terminal(it)))
    }
}

fn bad(given: &str) -> PolicyError {
    PolicyError::BadTarget { given: given.to_owned() }
}

fn is_pod(kind: &str) -> bool {
    POD.iter().any(|pod| pod.eq_ignore_ascii_case(kind))
}

fn is_kind(kind: &str) -> bool {
    is_pod(kind) || known_kind(kind).is_some()
}

fn known_kind(kind: &str) -> Option<&'static str> {
    // `deployment.apps` is what `kubectl get -o name` prints.
    let kind = kind.split_once('.').map_or(kind, |(kind, _)| kind);
    let means = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(kind));
    KINDS.iter().find(|(_, names)| means(names)).map(|(kind, _)| *kind)
}

/// Returns the full name of a kind. A custom kind is returned unchanged.
fn full_kind(kind: &str) -> String {
    known_kind(kind).unwrap_or(kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::PolicyTarget;

    #[test]
    fn a_target_becomes_query_parameters() {
        for (given, namespace, then) in [
            ("shop/web-1", None, "namespace=shop pod=web-1"),
            ("web-1", Some("shop"), "namespace=shop pod=web-1"),
            ("web-1", None, "pod=web-1"),
            ("pod/web-1", None, "pod=web-1"),
            ("deploy/web", None, "workload=Deployment/web"),
            ("deployment.apps/web", Some("shop"), "namespace=shop workload=Deployment/web"),
            ("shop/sts/db", None, "namespace=shop workload=StatefulSet/db"),
            ("Rollout/web", Some("shop"), "namespace=shop workload=Rollout/web"),
            ("shop/web-1", Some("shop"), "namespace=shop pod=web-1"),
            ("shop/ds/x", Some("shop"), "namespace=shop workload=DaemonSet/x"),
        ] {
            let target = PolicyTarget::parse(given, namespace).expect(given);
            let pairs: Vec<String> =
                target.query().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(pairs.join(" "), then, "{given}");
        }
        for (given, namespace) in
            [("", None), ("a/", None), ("/a", None), ("a/b/c/d", None), ("a/ds/b", Some("c"))]
        {
            assert!(PolicyTarget::parse(given, namespace).is_err(), "{given:?}");
        }
    }

    #[test]
    fn two_namespaces_that_contradict_each_other_are_refused_in_one_line() {
        for given in ["shop/web-1", "shop/ds/web"] {
            let refusal = PolicyTarget::parse(given, Some("other")).expect_err(given).to_string();
            assert!(
                refusal.starts_with(&format!("{given:?} is of namespace \"shop\", but -n says \"other\""))
                    && !refusal.contains('\n'),
                "{refusal}"
            );
        }
    }
}
