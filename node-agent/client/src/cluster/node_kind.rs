//! Kinds of nodes on which no agent can run, by their labels.

use std::collections::BTreeMap;

/// Label with the operating system.
const SYSTEM: &str = "kubernetes.io/os";
/// Label of EKS, and its value on nodes that are one pod's virtual machine.
const FARGATE: (&str, &str) = ("eks.amazonaws.com/compute-type", "fargate");

/// Returns why no pod of portolan can run on a node with these labels, and how to leave it out; `None` if one can.
pub(super) fn without_agents(labels: &BTreeMap<String, String>) -> Option<String> {
    if let Some(system) = labels.get(SYSTEM).filter(|system| *system != "linux") {
        return Some(of_system(system));
    }
    let is_fargate = labels.get(FARGATE.0).is_some_and(|kind| kind == FARGATE.1);
    is_fargate.then(|| {
        format!(
            "is a Fargate node, which runs one pod and no other ('--node-selector {}!={}' leaves it out)",
            FARGATE.0, FARGATE.1
        )
    })
}

/// Says that portolan does not run on nodes with this operating system.
pub(super) fn of_system(system: &str) -> String {
    format!(
        "runs {system}, and portolan looks at Linux only (--node-selector kubernetes.io/os=linux leaves it out)"
    )
}
