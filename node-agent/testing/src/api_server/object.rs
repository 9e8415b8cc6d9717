//! Objects as a cluster has them, as large as real ones.

use serde_json::{Value, json};

/// A pod of a node with two containers, environment, volumes, tolerations and managed fields.
#[must_use]
pub fn pod(namespace: &str, name: &str, node: &str) -> Value {
    let container = |index: usize| {
        json!({
            "name": format!("container-{index}"),
            "image": format!("registry.example/team/{name}-{index}:v1.24.{index}"),
            "imagePullPolicy": "IfNotPresent",
            "ports": [
                {"name": "http", "containerPort": 8080 + index, "protocol": "TCP"},
                {"name": "metrics", "containerPort": 9100 + index, "protocol": "TCP"},
            ],
            "env": (0..12).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("some value of setting {n}")}))
                .collect::<Vec<_>>(),
            "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10},
            "readinessProbe": {"tcpSocket": {"port": 8080 + index}, "periodSeconds": 10},
            "volumeMounts": (0..4).map(|n| json!({"name": format!("volume-{n}"), "mountPath": format!("/mnt/{n}")}))
                .collect::<Vec<_>>(),
        })
    };
    let status = |index: usize| {
        json!({
            "name": format!("container-{index}"), "ready": true, "restartCount": 0, "started": true,
            "containerID": format!("containerd://{index:064x}"),
            "image": format!("registry.example/team/{name}-{index}:v1.24.{index}"),
            "imageID": format!("registry.example/team/{name}@sha256:{index:064x}"),
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        })
    };
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": labels(name),
            "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/port": "9100",
                "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(2000),
            },
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-5d4f8c7b9"),
                "uid": "00000000-0000-4000-9000-000000000000", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed_fields(),
        },
        "spec": {
            "nodeName": node,
            "containers": [container(0), container(1)],
            "volumes": (0..4).map(|n| json!({"name": format!("volume-{n}"), "emptyDir": {}})).collect::<Vec<_>>(),
            "tolerations": (0..4).map(|n| json!({"key": format!("example.org/{n}"), "operator": "Exists"})).collect::<Vec<_>>(),
        },
        "status": {
            "phase": "Running", "podIP": "10.1.0.7", "podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd00::7"}],
            "conditions": conditions(),
            "containerStatuses": [status(0), status(1)],
        },
    })
}

fn conditions() -> Value {
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:00Z"
        })
    };
    ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition).into_iter().collect()
}

fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": name, "app.kubernetes.io/instance": name, "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "shop-1.2.3", "pod-template-hash": "5d4f8c7b9",
        "topology.kubernetes.io/zone": "zone-1", "team": "checkout",
    })
}

fn managed_fields() -> Value {
    let fields: serde_json::Map<String, Value> = (0..40)
        .map(|n| {
            (format!("f:field-{n}"), json!({"f:name": {}, "f:value": {}, "k:{\"name\":\"x\"}": {".": {}}}))
        })
        .collect();
    json!([
        {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": fields}},
        {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "subresource": "status",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:conditions": {}}}},
    ])
}

/// A Service that selects pods by one label.
#[must_use]
pub fn service(namespace: &str, name: &str, port: u16, target: &Value) -> Value {
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "protocol": "TCP", "targetPort": target}],
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    })
}

/// A namespace.
#[must_use]
pub fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace", "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    })
}

/// A policy that admits one TCP port to the pods with one label.
#[must_use]
pub fn network_policy(namespace: &str, name: &str, port: u16) -> Value {
    json!({
        "kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]},
    })
}
