//! `pods/NAME/log`: the log of a Job's pod, once its container has started.

use std::sync::Arc;

use hyper::{Response, StatusCode};

use crate::api_server::body::{Body, refused, whole};
use crate::api_server::pod_outcome::PodOutcome;
use crate::api_server::state::ServerState;

/// Returns namespace and name of the pod if this is the path of a log.
pub fn of(path: &str) -> Option<(&str, &str)> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["api", "v1", "namespaces", namespace, "pods", name, "log"] => Some((namespace, name)),
        _ => None,
    }
}

/// Answers with the log that the test chose for the pod's node.
pub fn answer(state: &Arc<ServerState>, namespace: &str, pod: &str) -> Response<Body> {
    let node = state
        .store()
        .get("pods", namespace, pod)
        .map(|version| version.value["spec"]["nodeName"].as_str().unwrap_or_default().to_owned());
    let Some(node) = node else {
        return refused(404, "NotFound", &format!("pods \"{pod}\" not found"));
    };
    match state.settings().job_pods.get(&node) {
        Some(PodOutcome::Ends { log, .. }) => {
            let mut response = whole(StatusCode::OK, log.clone());
            response.headers_mut().insert("content-type", "text/plain".parse().expect("a value"));
            response
        }
        Some(PodOutcome::Runs) => whole(StatusCode::OK, ""),
        _ => refused(
            400,
            "BadRequest",
            &format!("container \"scan\" in pod \"{pod}\" is waiting to start: ContainerCreating"),
        ),
    }
}
