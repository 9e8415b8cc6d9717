//! What the status of a scan's pod means for its node: still on its way, ended, or without a chance to start.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::job::CONTAINER;

/// Reasons of a waiting container that do not pass by themselves within a scan.
const STUCK: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// State of a scan's pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PodState {
    /// It may still answer; the text says what it waits for.
    Pending(String),
    /// Its container ended with this exit code: its log is complete.
    Ended(i32),
    /// It gives no answer, for this reason.
    Stuck(String),
}

/// Returns the state of a pod.
pub(super) fn of(pod: &Pod) -> PodState {
    let Some(status) = &pod.status else { return PodState::Pending("its pod has no status yet".to_owned()) };
    // Others are sidecars that something injected.
    let container: Option<&ContainerStatus> =
        status.container_statuses.iter().flatten().find(|container| container.name == CONTAINER);
    let state = container.and_then(|container| container.state.as_ref());
    let sentence = |reason: Option<&str>, message: Option<&str>| match (reason, message) {
        (Some(reason), Some(message)) if !message.is_empty() => format!("{reason}: {message}"),
        (reason, message) => reason.or(message).unwrap_or("no reason is given").to_owned(),
    };
    // kubelet ended the pod: an eviction, or the deadline of the pod. The container's exit code says less.
    let is_failed = status.phase.as_deref() == Some("Failed");
    if let Some(reason) = status.reason.as_deref().filter(|reason| is_failed && !reason.is_empty()) {
        let why = sentence(Some(reason), status.message.as_deref());
        return PodState::Stuck(format!("its pod failed: {why}"));
    }
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return match ended.reason.as_deref() {
            Some("OOMKilled") => PodState::Stuck("its pod ran out of memory (OOMKilled)".to_owned()),
            Some("StartError" | "ContainerCannotRun") => PodState::Stuck(format!(
                "its container cannot start: {}",
                sentence(ended.reason.as_deref(), ended.message.as_deref())
            )),
            _ => PodState::Ended(ended.exit_code),
        };
    }
    if is_failed {
        let why = sentence(None, status.message.as_deref());
        return PodState::Stuck(format!("its pod failed: {why}"));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Stuck("its pod was deleted by somebody else".to_owned());
    }
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref();
        let why = sentence(reason, waiting.message.as_deref());
        return if reason.is_some_and(|reason| STUCK.contains(&reason)) {
            PodState::Stuck(format!("its container cannot start: {why}"))
        } else {
            PodState::Pending(format!("its container waits: {why}"))
        };
    }
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions.into_iter().find(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
    });
    match (unscheduled, status.phase.as_deref()) {
        (Some(condition), _) => PodState::Stuck(format!(
            "its pod cannot be scheduled: {}",
            condition.message.as_deref().unwrap_or("Unschedulable")
        )),
        (None, Some("Running")) => PodState::Pending("its pod still runs".to_owned()),
        (None, _) => PodState::Pending("its pod does not start".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{PodState, of};

    fn state(status: &Value) -> PodState {
        of(&serde_json::from_value(json!({ "metadata": {}, "status": status })).expect("a pod"))
    }

    fn container(state: &Value) -> Value {
        json!({ "phase": "Pending", "containerStatuses": [{
            "name": "scan", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }] })
    }

    #[test]
    fn what_will_not_start_is_named_at_once() {
        let waiting = |reason: &str| container(&json!({"waiting": {"reason": reason, "message": "because"}}));
        for (status, expected) in [
            (waiting("ImagePullBackOff"), "its container cannot start: ImagePullBackOff: because"),
            (
                json!({"phase": "Failed", "reason": "OutOfpods", "message": "Node is full"}),
                "its pod failed: OutOfpods: Node is full",
            ),
            (
                json!({"phase": "Pending", "conditions": [{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}),
                "its pod cannot be scheduled: 0/3 nodes",
            ),
            (
                container(&json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
                "its pod ran out of memory (OOMKilled)",
            ),
        ] {
            assert_eq!(state(&status), PodState::Stuck(expected.to_owned()));
        }
        assert_eq!(
            state(&waiting("ContainerCreating")),
            PodState::Pending("its container waits: ContainerCreating: because".to_owned())
        );
        let ended = container(&json!({"terminated": {"exitCode": 3, "reason": "Error"}}));
        assert_eq!(state(&ended), PodState::Ended(3));
    }

    #[test]
    fn an_injected_sidecar_is_not_the_scan() {
        let mut status = container(&json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
        let sidecar = json!({
            "name": "istio-proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}},
        });
        status["containerStatuses"].as_array_mut().expect("an array").insert(0, sidecar);
        assert_eq!(state(&status), PodState::Ended(0));
    }

    #[test]
    fn an_evicted_pod_keeps_its_reason() {
        let mut status = container(&json!({"terminated": {"exitCode": 137, "reason": "Error"}}));
        status["phase"] = json!("Failed");
        status["reason"] = json!("Evicted");
        status["message"] = json!("The node was low on resource: memory");
        let why = "its pod failed: Evicted: The node was low on resource: memory";
        assert_eq!(state(&status), PodState::Stuck(why.to_owned()));
    }
}
