//! The example: a pod that declares port 8080 and listens on 8080, 9090 and 5000, its Service, and a pod that calls all three.
//! A `restricted` namespace admits both pods.

use serde_json::{Value, json};

pub const APP: &str = "multi-port-app";
pub const CURLER: &str = "curler";
/// The port in the manifest and in the Service.
pub const DECLARED: u16 = 8080;
pub const UNDECLARED: [u16; 2] = [9090, 5000];

const SERVER: &str = "mkdir -p /tmp/site && echo hello > /tmp/site/index.html
for port in 8080 9090; do httpd -p $port -h /tmp/site; done
exec httpd -f -p 5000 -h /tmp/site";

const CALLER: &str = "while true; do
  for url in http://$APP:8080/ http://$APP:9090/ http://$APP:5000/ http://$SERVICE/; do
    wget -q -T 2 -O /dev/null $url || echo \"$url does not answer\"
  done
  sleep 1
done";

/// The two namespaces. The namespace of the agents is `privileged`, as agents need.
pub fn namespaces(agents: &str, examples: &str) -> Value {
    let namespace = |name: &str, level: &str| {
        let labels = json!({ "pod-security.kubernetes.io/enforce": level, "portolan.dev/e2e": "true" });
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
    };
    list([namespace(agents, "privileged"), namespace(examples, "restricted")])
}

/// The pod that listens, and its Service, which has only the declared port.
pub fn app(namespace: &str, image: &str) -> Value {
    let mut pod = pod(namespace, APP, image, SERVER);
    pod["spec"]["containers"][0]["ports"] = json!([{ "name": "http", "containerPort": DECLARED }]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": namespace, "name": APP },
        "spec": {
            "selector": { "app": APP },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http", "protocol": "TCP" }],
        },
    });
    list([pod, service])
}

/// The pod that calls the address of the other pod and of its Service. It runs on the same node, because an agent knows the
/// names of the pods of its own node only.
pub fn curler(namespace: &str, image: &str, app: &str, service: &str) -> Value {
    let mut pod = pod(namespace, CURLER, image, CALLER);
    let host =
        |address: &str| if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    pod["spec"]["containers"][0]["env"] =
        json!([{ "name": "APP", "value": host(app) }, { "name": "SERVICE", "value": host(service) }]);
    pod["spec"]["affinity"] = json!({
        "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": { "matchLabels": { "app": APP } },
            "topologyKey": "kubernetes.io/hostname",
        }] },
    });
    pod
}

fn pod(namespace: &str, name: &str, image: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": { "app": name } },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "app",
                "image": image,
                "command": ["/bin/sh", "-c", script],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                },
                "resources": {
                    "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "64Mi" },
                },
            }],
        },
    })
}

fn list<const N: usize>(items: [Value; N]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": Value::from_iter(items) })
}
