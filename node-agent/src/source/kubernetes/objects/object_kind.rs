//! Which kind of object a document is: `apiVersion` decides, since several groups have a NetworkPolicy, a Service or a Job.

/// A kind of object that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Pod,
    /// A kind whose `spec.template` makes pods, by name.
    Workload(&'static str),
    CronJob,
    Service,
    NetworkPolicy,
    Namespace,
}

/// The kinds that are read, with the groups in which they exist.
const KINDS: [(&str, ObjectKind, &[&str]); 11] = [
    ("Pod", ObjectKind::Pod, &[""]),
    ("Deployment", ObjectKind::Workload("Deployment"), &["apps", "extensions"]),
    ("StatefulSet", ObjectKind::Workload("StatefulSet"), &["apps"]),
    ("DaemonSet", ObjectKind::Workload("DaemonSet"), &["apps", "extensions"]),
    ("ReplicaSet", ObjectKind::Workload("ReplicaSet"), &["apps", "extensions"]),
    ("ReplicationController", ObjectKind::Workload("ReplicationController"), &[""]),
    ("Job", ObjectKind::Workload("Job"), &["batch"]),
    ("CronJob", ObjectKind::CronJob, &["batch"]),
    ("Service", ObjectKind::Service, &[""]),
    ("NetworkPolicy", ObjectKind::NetworkPolicy, &["networking.k8s.io", "extensions"]),
    ("Namespace", ObjectKind::Namespace, &[""]),
];

impl ObjectKind {
    /// Returns the kind of an object; `None` for one that is not read. An object without `apiVersion` is taken for that of
    /// Kubernetes itself.
    #[must_use]
    pub fn of(api_version: Option<&str>, kind: &str) -> Option<Self> {
        let group = api_version.filter(|version| !version.is_empty()).map(group);
        let (_, known, groups) = KINDS.iter().find(|(name, _, _)| *name == kind)?;
        group.is_none_or(|group| groups.contains(&group)).then_some(*known)
    }

    /// Returns the name as objects write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Workload(name) => name,
            Self::CronJob => "CronJob",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Namespace => "Namespace",
        }
    }

    /// True for a kind that makes pods.
    #[must_use]
    pub const fn makes_pods(self) -> bool {
        matches!(self, Self::Pod | Self::Workload(_) | Self::CronJob)
    }

    /// Returns the names of all kinds that make pods.
    pub fn names_that_make_pods() -> impl Iterator<Item = &'static str> {
        KINDS.iter().filter(|(_, kind, _)| kind.makes_pods()).map(|(name, _, _)| *name)
    }
}

/// Returns the group of an `apiVersion`; empty for the core group.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_decides_and_any_version_of_it_is_read() {
        for (version, kind, is_read) in [
            ("v1", "Pod", true),
            ("", "Pod", true),
            ("apps/v1", "Deployment", true),
            ("apps/v1beta2", "Deployment", true),
            ("extensions/v1beta1", "DaemonSet", true),
            ("networking.k8s.io/v1", "NetworkPolicy", true),
            ("crd.antrea.io/v1beta1", "NetworkPolicy", false),
            ("crd.projectcalico.org/v1", "NetworkPolicy", false),
            ("serving.knative.dev/v1", "Service", false),
            ("batch.volcano.sh/v1alpha1", "Job", false),
            ("apps.kruise.io/v1alpha1", "DaemonSet", false),
            ("v1", "Deployment", false),
            ("v1", "ConfigMap", false),
        ] {
            assert_eq!(ObjectKind::of(Some(version), kind).is_some(), is_read, "{version} {kind}");
        }
        assert_eq!(ObjectKind::of(None, "Job").map(ObjectKind::as_str), Some("Job"));
    }
}
