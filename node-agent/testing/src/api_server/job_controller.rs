//! Plays the Job controller and the kubelets: a new Job has a pod at once, in the state that the test chose for its node. Where
//! Pod Security refuses the pod, an event says so, as on a real cluster. Deleting a Job deletes its pods.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api_server::resource::Resource;
use crate::api_server::state::ServerState;
use crate::api_server::store::Store;

/// Creates the pod of a Job that was stored, or the event of its refusal.
pub fn run(store: &mut Store, state: &Arc<ServerState>, namespace: &str, body: &str) {
    let Ok(job) = serde_json::from_str::<Value>(body) else { return };
    let name = job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let uid = store.get("jobs", namespace, &name).map(|version| version.value["metadata"]["uid"].clone());
    let template = &job["spec"]["template"];
    if let Some(refusal) = refusal(store, namespace, &name, &template["spec"]) {
        let metadata = json!({"name": format!("{name}.1"), "namespace": namespace});
        let involved = json!({"kind": "Job", "namespace": namespace, "name": name, "uid": uid});
        let event = json!({
            "metadata": metadata, "involvedObject": involved, "reason": "FailedCreate", "type": "Warning",
            "message": format!("Error creating: {refusal}"),
        });
        store.put(Resource::of("events").expect("served"), event);
        return;
    }
    let node = template["spec"]["nodeName"].as_str().unwrap_or_default();
    let outcome = state.settings().job_pods.get(node).cloned();
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!(format!("{name}-x7k2p"));
    metadata["namespace"] = json!(namespace);
    metadata["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": true,
    }]);
    let status = outcome.map_or_else(|| json!({"phase": "Pending"}), |outcome| outcome.status());
    let pod = json!({"metadata": metadata, "spec": template["spec"], "status": status});
    store.put(Resource::of("pods").expect("served"), pod);
}

/// Returns the refusal of Pod Security where the namespace does not allow privileged pods.
fn refusal(store: &Store, namespace: &str, job: &str, spec: &Value) -> Option<String> {
    let known = store.get("namespaces", "", namespace)?;
    let level = known.value["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].as_str()?;
    let is_privileged = spec["hostPID"] == json!(true);
    (level != "privileged" && is_privileged).then(|| {
        format!(
            "pods \"{job}-x7k2p\" is forbidden: violates PodSecurity \"{level}:latest\": host namespaces (hostPID=true), \
             hostPath volumes (volume \"node-0\")"
        )
    })
}

/// Deletes the pods of a Job that is gone.
pub fn collect(store: &mut Store, namespace: &str, job: &str) {
    let owned = store.objects("pods").filter(|(key, version)| {
        key.0 == namespace && version.value["metadata"]["ownerReferences"][0]["name"] == json!(job)
    });
    let names: Vec<String> = owned.map(|(key, _)| key.1.clone()).collect();
    for name in names {
        store.delete(Resource::of("pods").expect("served"), namespace, &name);
    }
}
