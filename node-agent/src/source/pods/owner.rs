//! Names the workload that owns a pod.

use std::collections::BTreeMap;

use portolan_engine::model::pod::Workload;

/// Label with the hash that the ReplicaSets of a Deployment have in their names.
pub const DEPLOYMENT_HASH: &str = "pod-template-hash";
/// Label with the hash that the ReplicaSets of a Rollout (Argo Rollouts) have in their names.
pub const ROLLOUT_HASH: &str = "rollouts-pod-template-hash";
/// Labels with the name of a DeploymentConfig (OpenShift), whose ReplicationControllers have the names `NAME-VERSION`.
pub const DEPLOYMENT_CONFIG: [&str; 2] = ["deploymentconfig", "openshift.io/deployment-config.name"];

/// Returns the owner, or what is behind a ReplicaSet or ReplicationController that a rollout replaces: the Deployment, the
/// Rollout or the DeploymentConfig that the pod's labels and the owner's name tell.
#[must_use]
pub fn workload(kind: &str, name: &str, labels: &BTreeMap<String, String>) -> Workload {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let behind = match kind {
        "ReplicaSet" => [(DEPLOYMENT_HASH, "Deployment"), (ROLLOUT_HASH, "Rollout")]
            .into_iter()
            .find_map(|(key, kind)| Some((kind, without_hash(name, label(key)?)?))),
        "ReplicationController" => DEPLOYMENT_CONFIG
            .into_iter()
            .find_map(|key| label(key).filter(|config| is_version_of(name, config)))
            .map(|config| ("DeploymentConfig", config)),
        _ => None,
    };
    let (kind, name) = behind.unwrap_or((kind, name));
    Workload { kind: kind.to_owned(), name: name.to_owned() }
}

/// Returns the part of a ReplicaSet's name before the template's hash; `None` if the name does not end with it.
#[must_use]
pub fn without_hash<'a>(set: &'a str, hash: &str) -> Option<&'a str> {
    let name = set.strip_suffix(hash).filter(|_| !hash.is_empty())?.strip_suffix('-')?;
    (!name.is_empty()).then_some(name)
}

/// Returns true if a ReplicationController of this name is a version of the DeploymentConfig.
#[must_use]
pub fn is_version_of(controller: &str, config: &str) -> bool {
    let version = controller.strip_prefix(config).and_then(|rest| rest.strip_prefix('-'));
    !config.is_empty() && version.is_some_and(|version| version.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rollout_replaces_is_named_by_what_stays() {
        for (kind, name, label, then) in [
            ("ReplicaSet", "web-6d4b75cb6d", (DEPLOYMENT_HASH, "6d4b75cb6d"), ("Deployment", "web")),
            ("ReplicaSet", "web-6d4b75cb6d", (DEPLOYMENT_HASH, "other"), ("ReplicaSet", "web-6d4b75cb6d")),
            ("ReplicaSet", "web-6d4b75cb6d", (ROLLOUT_HASH, "6d4b75cb6d"), ("Rollout", "web")),
            ("ReplicaSet", "web", ("app", "web"), ("ReplicaSet", "web")),
            ("ReplicaSet", "web", (DEPLOYMENT_HASH, ""), ("ReplicaSet", "web")),
            ("ReplicationController", "web-3", ("deploymentconfig", "web"), ("DeploymentConfig", "web")),
            ("ReplicationController", "web-3", (DEPLOYMENT_CONFIG[1], "web"), ("DeploymentConfig", "web")),
            (
                "ReplicationController",
                "web-x",
                ("deploymentconfig", "web"),
                ("ReplicationController", "web-x"),
            ),
            ("ReplicationController", "web-3", ("app", "web"), ("ReplicationController", "web-3")),
            ("DaemonSet", "log-1", (DEPLOYMENT_HASH, "1"), ("DaemonSet", "log-1")),
        ] {
            let labels = BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]);
            let workload = workload(kind, name, &labels);
            assert_eq!((workload.kind.as_str(), workload.name.as_str()), then);
        }
    }
}
