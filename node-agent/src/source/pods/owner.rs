//! Names the workload that owns a pod.

use portolan_engine::model::pod::Workload;

/// Returns the owner, or the Deployment behind a ReplicaSet: a ReplicaSet of a Deployment carries the template's hash in its
/// name.
#[must_use]
pub fn workload(kind: &str, name: &str, template_hash: Option<&str>) -> Workload {
    let deployment = template_hash
        .filter(|hash| kind == "ReplicaSet" && !hash.is_empty())
        .and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'))
        .filter(|name| !name.is_empty());
    match deployment {
        Some(name) => Workload { kind: "Deployment".to_owned(), name: name.to_owned() },
        None => Workload { kind: kind.to_owned(), name: name.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_set_of_a_deployment_is_the_deployment() {
        for (kind, name, hash, then) in [
            ("ReplicaSet", "web-6d4b75cb6d", Some("6d4b75cb6d"), ("Deployment", "web")),
            ("ReplicaSet", "web-6d4b75cb6d", Some("other"), ("ReplicaSet", "web-6d4b75cb6d")),
            ("ReplicaSet", "web", None, ("ReplicaSet", "web")),
            ("ReplicaSet", "web", Some(""), ("ReplicaSet", "web")),
            ("DaemonSet", "log-1", Some("1"), ("DaemonSet", "log-1")),
        ] {
            let workload = workload(kind, name, hash);
            assert_eq!((workload.kind.as_str(), workload.name.as_str()), then);
        }
    }
}
