//! Guesses the workload of a pod from labels and name, since the runtime does not know owners. The owner from the API server
//! takes precedence where there is one.

use std::collections::HashMap;

use portolan_engine::model::pod::Workload;

use crate::source::pods::owner::{
    DEPLOYMENT_CONFIG, DEPLOYMENT_HASH, ROLLOUT_HASH, is_version_of, without_hash,
};

/// Returns the workload of the pod `name` with these labels.
pub(super) fn workload(name: &str, labels: &HashMap<String, String>) -> Option<Workload> {
    let label = |key: &str| labels.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let workload = |kind: &str, name: &str| {
        (!name.is_empty()).then(|| Workload { kind: kind.to_owned(), name: name.to_owned() })
    };
    let controller = name.rsplit_once('-').map(|(controller, _)| controller);
    let behind_set = [(DEPLOYMENT_HASH, "Deployment"), (ROLLOUT_HASH, "Rollout")]
        .into_iter()
        .find_map(|(key, kind)| Some((kind, without_hash(controller?, label(key)?)?)));
    if let Some((kind, name)) = behind_set {
        return workload(kind, name);
    }
    let is_behind = |config: &&str| controller.is_some_and(|controller| is_version_of(controller, config));
    if let Some(config) = DEPLOYMENT_CONFIG.into_iter().find_map(|key| label(key).filter(is_behind)) {
        return workload("DeploymentConfig", config);
    }
    if label("statefulset.kubernetes.io/pod-name").is_some_and(|own| own == name) {
        let (set, ordinal) = name.rsplit_once('-')?;
        return ordinal.parse::<u32>().ok().and_then(|_| workload("StatefulSet", set));
    }
    if let Some(job) = label("batch.kubernetes.io/job-name").or_else(|| label("job-name")) {
        return workload("Job", job);
    }
    if label("controller-revision-hash").is_some() && label("pod-template-generation").is_some() {
        return workload("DaemonSet", name.rsplit_once('-')?.0);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names_tell_the_usual_workloads() {
        for (name, labels, expected) in [
            ("web-5d4f8c9b7-x2x4z", vec![("pod-template-hash", "5d4f8c9b7")], "Deployment/web"),
            ("web-5d4f8c9b7-x2x4z", vec![("pod-template-hash", "other")], "-"),
            ("web-5d4f8c9b7-x2x4z", vec![("rollouts-pod-template-hash", "5d4f8c9b7")], "Rollout/web"),
            ("web-3-x2x4z", vec![("deploymentconfig", "web")], "DeploymentConfig/web"),
            ("web-0", vec![("deploymentconfig", "web")], "-"),
            // A label that does not fit does not hide one that does.
            (
                "web-3-x2x4z",
                vec![("deploymentconfig", "other"), (DEPLOYMENT_CONFIG[1], "web")],
                "DeploymentConfig/web",
            ),
            (
                "web-5d4f8c9b7-x2x4z",
                vec![("pod-template-hash", "other"), ("rollouts-pod-template-hash", "5d4f8c9b7")],
                "Rollout/web",
            ),
            ("db-0", vec![("statefulset.kubernetes.io/pod-name", "db-0")], "StatefulSet/db"),
            ("db-0", vec![("statefulset.kubernetes.io/pod-name", "db-1")], "-"),
            ("backup-28-abcde", vec![("batch.kubernetes.io/job-name", "backup-28")], "Job/backup-28"),
            (
                "proxy-abcde",
                vec![("controller-revision-hash", "1"), ("pod-template-generation", "1")],
                "DaemonSet/proxy",
            ),
            ("alone", vec![("app", "alone")], "-"),
            ("-", vec![("pod-template-hash", "x")], "-"),
        ] {
            let labels = labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            let found = workload(name, &labels).map_or("-".to_owned(), |w| format!("{}/{}", w.kind, w.name));
            assert_eq!(found, expected, "{name}");
        }
    }
}
