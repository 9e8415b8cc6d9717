//! What becomes of the pod of a Job, as a test chooses it, and the status that kubelet would write.

use serde_json::{Value, json};

/// What becomes of the pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodOutcome {
    /// Its container runs and does not end.
    Runs,
    /// Its container ended, with this exit code and log.
    Ends { code: i32, log: String },
    /// Its container waits, for this reason and with this message.
    Waits { reason: &'static str, message: &'static str },
}

impl PodOutcome {
    /// Returns the status of a pod in this state.
    #[must_use]
    pub fn status(&self) -> Value {
        let (phase, state) = match self {
            Self::Runs => ("Running", json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})),
            Self::Ends { code, .. } => (
                if *code == 0 { "Succeeded" } else { "Failed" },
                json!({"terminated": {"exitCode": code, "reason": if *code == 0 { "Completed" } else { "Error" }}}),
            ),
            Self::Waits { reason, message } => {
                ("Pending", json!({"waiting": {"reason": reason, "message": message}}))
            }
        };
        let container = json!({
            "name": "scan", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        });
        json!({ "phase": phase, "containerStatuses": [container] })
    }
}
