//! The Job that scans one node: its pod, its privileges, and the limits by which it ends and is deleted without the plugin.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::args::ScanArgs;
use super::nodes::{RuntimePath, Target, of_socket};

/// Label and value that all Jobs and pods of scans have.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kubectl-portolan");
/// Label with the id of the scan.
pub(super) const SCAN: &str = "portolan.dev/scan";
/// Annotation of a Job with the name of its node, which may be too long for a label.
pub(super) const NODE: &str = "portolan.dev/node";
/// Seconds after the end of a Job in which the plugin reads its log, and the nodes for which it has one second more. Then the
/// cluster deletes Job and pod.
const KEPT: u32 = 60;
const NODES_PER_SECOND: usize = 4;
/// Seconds that a pod has beyond the plugin's deadline.
const BEYOND: u32 = 30;
/// Name of the container.
pub(super) const CONTAINER: &str = "scan";

/// Capabilities of the container: to enter network namespaces, to read processes, and to read their descriptors. CAP_NET_ADMIN
/// is not among them, because a scan loads no programs.
const CAPABILITIES: [&str; 3] = ["SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"];

/// Returns the selector of the objects of one scan.
pub(super) fn selector(scan: &str) -> String {
    format!("{}={},{SCAN}={scan}", MANAGED_BY.0, MANAGED_BY.1)
}

/// Seconds after which the cluster ends a scan's pod.
pub(super) fn active_deadline(args: &ScanArgs) -> u32 {
    args.deadline.saturating_add(BEYOND)
}

/// Seconds after which the cluster deletes the ended Jobs of a scan of so many nodes.
pub(super) fn kept(nodes: usize) -> u32 {
    KEPT.saturating_add(u32::try_from(nodes / NODES_PER_SECOND).unwrap_or(u32::MAX))
}

/// Returns the Job that scans a node. `kept` is that of the scan.
///
/// # Errors
/// If the object does not have the form of a Job, which is a defect.
pub(super) fn job(
    target: &Target,
    number: usize,
    (scan, kept): (&str, u32),
    image: &str,
    args: &ScanArgs,
) -> Result<Job, serde_json::Error> {
    let labels = json!({
        MANAGED_BY.0: MANAGED_BY.1,
        "app.kubernetes.io/part-of": "portolan",
        "app.kubernetes.io/component": "scan",
        SCAN: scan,
        // A sidecar would keep the pod, and thus the Job, from ending.
        "sidecar.istio.io/inject": "false",
    });
    let annotations = json!({ NODE: target.node });
    let metadata = json!({ "labels": labels, "annotations": annotations });
    let mut named = metadata.clone();
    if let Some(named) = named.as_object_mut() {
        named.insert("name".to_owned(), json!(format!("portolan-scan-{scan}-{number}")));
    }
    serde_json::from_value(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": named,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": active_deadline(args),
            "ttlSecondsAfterFinished": kept,
            "template": { "metadata": metadata, "spec": pod(target, image, args) },
        },
    }))
}

fn pod(target: &Target, image: &str, args: &ScanArgs) -> Value {
    let (volumes, mounts) = mounts(target, args);
    let secrets: Vec<Value> = args.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        // As `kubectl debug node` does: no scheduler, so that cordoned and full nodes are scanned too.
        "nodeName": target.node,
        "tolerations": [{ "operator": "Exists" }],
        "restartPolicy": "Never",
        "activeDeadlineSeconds": active_deadline(args),
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "imagePullSecrets": secrets,
        "hostPID": true,
        "volumes": volumes,
        "containers": [{
            "name": CONTAINER,
            "image": image,
            "args": arguments(target, args),
            "securityContext": security(args),
            "resources": {
                // kubelet admits the pod to a node whose CPU and memory are all requested. Absent, they would be those of a
                // LimitRange, or the limits.
                "requests": { "cpu": "0", "memory": "0" },
                "limits": { "memory": "512Mi" },
            },
            "volumeMounts": mounts,
        }],
    })
}

/// Arguments of `portolan scan` on the node. Filters are applied there, `--fail-on` here.
fn arguments(target: &Target, args: &ScanArgs) -> Vec<String> {
    let source =
        args.runtime_socket.as_deref().map_or_else(|| "cri".to_owned(), |socket| format!("cri={socket}"));
    let mut words = vec![
        "scan".to_owned(),
        "--output=json".to_owned(),
        format!("--metadata={source}"),
        format!("--node-name={}", target.node),
    ];
    words.extend(args.cluster_name.iter().map(|name| format!("--cluster-name={name}")));
    words.extend(args.filter.namespace.iter().map(|namespace| format!("--namespace={namespace}")));
    words.extend(args.filter.selector.iter().map(|selector| format!("--selector={selector}")));
    words.extend(args.findings.code.iter().map(|code| format!("--code={code}")));
    words.extend(args.findings.severity.iter().map(|severity| format!("--severity={}", severity.as_str())));
    words
}

fn security(args: &ScanArgs) -> Value {
    if args.privileged {
        return json!({ "privileged": true, "runAsUser": 0, "runAsGroup": 0, "readOnlyRootFilesystem": true });
    }
    json!({
        "privileged": false,
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": false,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"], "add": CAPABILITIES },
        "seccompProfile": { "type": "RuntimeDefault" },
        // The runtimes' default profiles forbid reading other processes.
        "appArmorProfile": { "type": "Unconfined" },
    })
}

/// Returns volumes and their mounts: the names of network namespaces, and the socket of the runtime.
fn mounts(target: &Target, args: &ScanArgs) -> (Vec<Value>, Vec<Value>) {
    let mut paths = vec![("/run/netns".to_owned(), "DirectoryOrCreate")];
    match args.runtime_socket.as_deref().map(of_socket) {
        Some(RuntimePath::Directory(directory)) => paths.push((directory, "Directory")),
        Some(RuntimePath::Socket(socket)) => paths.push((socket, "Socket")),
        None => paths.extend(target.runtime_paths.iter().map(|path| match path {
            RuntimePath::Directory(directory) => (directory.clone(), "DirectoryOrCreate"),
            RuntimePath::Socket(socket) => (socket.clone(), "Socket"),
        })),
    }
    let volumes = paths.iter().enumerate().map(|(number, (path, kind))| {
        json!({ "name": format!("node-{number}"), "hostPath": { "path": path, "type": kind } })
    });
    let mounts = paths.iter().enumerate().map(|(number, (path, kind))| {
        let mut mount = json!({ "name": format!("node-{number}"), "mountPath": path, "readOnly": true });
        if let (Some(mount), true) = (mount.as_object_mut(), *kind != "Socket") {
            mount.insert("mountPropagation".to_owned(), json!("HostToContainer"));
        }
        mount
    });
    (volumes.collect(), mounts.collect())
}
