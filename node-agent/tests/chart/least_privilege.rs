//! Checks that the agent gets exactly the privileges that it needs, with any combination of features.

use serde_json::{Value, json};

use crate::Case;
use crate::helm::{all, template, template_set};
use crate::objects::{Objects, items, keys, texts};

pub const CASES: &[Case] = &[
    ("roles list and watch four kinds, and write what is switched on, and nothing else", roles),
    ("each kind is watched only if its feature is on", role_follows_features),
    ("without the API source there is no role and no token", no_api_no_token),
    ("containers have exactly the capabilities of the chart", capabilities),
    ("privileged is one switch, and off", privileged),
    ("hostPath volumes are few, read-only but for the state, and never broad", host_paths),
    ("the state directory is the only writable one, and can be off", state),
    ("pods share the host's processes and nothing else of it", host_namespaces),
    ("every container has requests and a limit of memory", resources),
    ("the API stays on loopback and no object leads to it", api_on_loopback),
    ("no secret is made, read or mounted", secrets),
    ("restricted egress still reaches the receiver of OTLP", egress),
    ("AppArmor is said as each version of Kubernetes has it", app_armor),
    ("the quota exists where the priority class needs it", quota),
    ("OpenShift's constraints allow what the agent asks for", openshift),
    ("every node but those that are none gets an agent", placement),
];

/// Groups and resources that the agent may always list and watch.
const READABLE: [(&str, &str); 4] =
    [("", "pods"), ("", "namespaces"), ("", "services"), ("networking.k8s.io", "networkpolicies")];
/// Resources that the agent may write if a value is true: value, group, resource, verbs.
const WRITABLE: [(&str, &str, &str, &[&str]); 2] = [
    ("agent.reports", "openreports.io", "reports", &["create", "patch", "list"]),
    ("agent.events", "events.k8s.io", "events", &["create"]),
];
const CAPABILITIES: [&str; 4] = ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"];
/// Directories of the node, and sockets, that may be mounted.
const MOUNTABLE: [&str; 9] = [
    "/sys/fs/cgroup",
    "/run/netns",
    "/run/docker/netns",
    "/run/containerd",
    "/run/crio",
    "/run/k3s/containerd",
    "/run/cri-dockerd.sock",
    "/var/lib/portolan",
    "/var/lib/ports/state",
];

/// Returns group, resource and verbs of every rule.
fn granted(objects: &Objects) -> Vec<(String, String, Vec<String>)> {
    let rules = objects.of_kind("ClusterRole").flat_map(|role| items(&role["rules"]));
    let of_rule = |rule: &Value| {
        let [groups, resources, verbs] = ["apiGroups", "resources", "verbs"].map(|key| texts(&rule[key]));
        let pairs = groups.into_iter().flat_map(move |group| {
            let verbs = verbs.clone();
            resources.clone().into_iter().map(move |resource| (group.clone(), resource, verbs.clone()))
        });
        pairs.collect::<Vec<_>>()
    };
    rules.flat_map(of_rule).collect()
}

fn roles() {
    let viewer = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]},
    ]);
    for (name, objects) in all() {
        assert!(!objects.has("RoleBinding"), "{name}: nobody is made a viewer");
        for role in objects.of_kind("Role") {
            assert!(
                role["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-viewer")),
                "{name}"
            );
            assert_eq!(role["rules"], viewer, "{name}");
        }
        for role in objects.of_kind("ClusterRole") {
            assert!(role.get("aggregationRule").is_none(), "{name}");
            for rule in items(&role["rules"]) {
                assert_eq!(keys(rule), ["apiGroups", "resources", "verbs"], "{name}");
            }
        }
        let args = objects.args();
        for (group, resource, verbs) in granted(&objects) {
            if READABLE.contains(&(group.as_str(), resource.as_str())) {
                assert_eq!(verbs, ["list", "watch"], "{name}: {group}/{resource}");
                continue;
            }
            let known = WRITABLE.iter().find(|(_, known, of, _)| *known == group && *of == resource);
            let (value, .., may) = known.unwrap_or_else(|| panic!("{name}: {group}/{resource}"));
            assert_eq!(verbs, *may, "{name}: {group}/{resource}");
            let option = value.replace("agent.", "--");
            assert!(args.contains(&option), "{name}: {group}/{resource} without {option}");
        }
    }
}

fn role_follows_features() {
    let readable = |settings: &[&str]| {
        let granted = granted(&template_set(settings).expect("renders"));
        granted.into_iter().map(|(_, resource, _)| resource).collect::<Vec<_>>()
    };
    assert_eq!(readable(&[]), ["pods", "namespaces", "services", "networkpolicies"]);
    assert_eq!(readable(&["sources.apiServer.services=false"]), ["pods", "namespaces", "networkpolicies"]);
    assert_eq!(readable(&["sources.apiServer.networkPolicies=false"]), ["pods", "namespaces", "services"]);
    for (value, _, resource, _) in WRITABLE {
        let expected = ["pods", "namespaces", "services", "networkpolicies", resource];
        assert_eq!(readable(&[&format!("{value}=true")]), expected);
    }
    let removing = granted(&template_set(&["rbac.removeReports=true"]).expect("renders"));
    let last = removing.last().expect("a rule");
    assert_eq!(
        *last,
        ("openreports.io".to_owned(), "reports".to_owned(), vec!["list".to_owned(), "delete".to_owned()])
    );
    let args = template_set(&["sources.apiServer.networkPolicies=false"]).expect("renders").args();
    assert!(args.contains(&"--policies=false".to_owned()), "{args:?}");
}

fn no_api_no_token() {
    for (name, objects) in all() {
        let is_asked =
            objects.args().iter().any(|arg| arg.contains("--metadata=") && arg.contains("kubernetes"));
        assert_eq!(objects.has("ClusterRole"), is_asked, "{name}");
        assert_eq!(objects.has("ClusterRoleBinding"), is_asked, "{name}");
        for (kind, spec) in objects.pod_specs() {
            assert_eq!(spec["automountServiceAccountToken"], is_asked, "{name} {kind}");
        }
        for account in objects.of_kind("ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{name}");
        }
    }
}

fn containers(objects: &Objects) -> Vec<Value> {
    let mut all = Vec::new();
    for (_, spec) in objects.pod_specs() {
        assert!(spec.get("initContainers").is_none());
        all.extend(items(&spec["containers"]).iter().cloned());
    }
    assert!(!all.is_empty());
    all
}

fn capabilities() {
    for (name, objects) in all() {
        for container in containers(&objects) {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["runAsUser"], 0, "{name}: the capabilities are root's");
            assert_eq!(container.get("command"), None, "{name}: the image's entry point is the agent");
            if name == "privileged" {
                continue;
            }
            assert_eq!(texts(&context["capabilities"]["drop"]), ["ALL"], "{name}");
            assert_eq!(texts(&context["capabilities"]["add"]), CAPABILITIES, "{name}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["seccompProfile"], json!({ "type": "RuntimeDefault" }), "{name}");
        }
    }
}

fn privileged() {
    for (name, objects) in all() {
        for container in containers(&objects) {
            let context = &container["securityContext"];
            assert_eq!(context["privileged"], name == "privileged", "{name}");
            // The API server refuses these settings in a privileged container.
            let has_them =
                ["allowPrivilegeEscalation", "capabilities"].iter().any(|key| context.get(key).is_some());
            assert_eq!(has_them, name != "privileged", "{name}");
        }
    }
}

fn host_paths() {
    for (name, objects) in all() {
        for (kind, spec) in objects.pod_specs() {
            for volume in items(&spec["volumes"]) {
                let Some(path) = volume["hostPath"]["path"].as_str() else { continue };
                assert!(MOUNTABLE.contains(&path), "{name} {kind}: {path}");
                let mounts = items(&spec["containers"][0]["volumeMounts"]);
                let mount =
                    mounts.iter().find(|mount| mount["name"] == volume["name"]).expect("it is mounted");
                let is_state = volume["name"] == "state";
                assert_eq!(mount["readOnly"] == true, !is_state, "{name} {kind}: {path}");
                assert_eq!(mount["mountPath"], path, "{name} {kind}");
                let follows = mount["mountPropagation"] == "HostToContainer";
                let is_alone = is_state || path == "/sys/fs/cgroup" || path.ends_with(".sock");
                assert_eq!(follows, !is_alone, "{name} {kind}: {path}");
            }
        }
    }
}

fn state() {
    for (name, objects) in all() {
        let args = objects.args();
        let directory = args.iter().find_map(|arg| arg.strip_prefix("--state-dir=")).expect("--state-dir");
        assert_eq!(directory == "off", name == "minimal", "{name}");
        for (kind, spec) in objects.pod_specs() {
            let volumes = items(&spec["volumes"]).iter().filter(|volume| volume["name"] == "state");
            let paths: Vec<&Value> = volumes.map(|volume| &volume["hostPath"]).collect();
            if directory == "off" {
                assert!(paths.is_empty(), "{name} {kind}");
            } else {
                let only = json!({ "path": directory, "type": "DirectoryOrCreate" });
                assert_eq!(paths, [&only], "{name} {kind}");
            }
        }
    }
}

fn host_namespaces() {
    for (name, objects) in all() {
        for (kind, spec) in objects.pod_specs() {
            assert_eq!(spec["hostPID"], true, "{name} {kind}");
            for key in ["hostNetwork", "hostIPC", "hostUsers", "shareProcessNamespace"] {
                assert!(spec.get(key).is_none(), "{name} {kind}: {key}");
            }
            assert_eq!(spec["enableServiceLinks"], false, "{name} {kind}");
            for port in items(&spec["containers"][0]["ports"]) {
                assert!(port.get("hostPort").is_none(), "{name}");
            }
        }
    }
}

fn resources() {
    for (name, objects) in all() {
        for container in containers(&objects) {
            let resources = &container["resources"];
            assert!(resources["requests"]["cpu"].is_string(), "{name}");
            assert!(resources["requests"]["memory"].is_string(), "{name}");
            assert!(resources["limits"]["memory"].is_string(), "{name}");
            assert!(resources["limits"].get("cpu").is_none(), "{name}: throttled agents lose records");
        }
    }
}

fn api_on_loopback() {
    for (name, objects) in all() {
        let args = objects.args();
        let api = args.iter().find_map(|arg| arg.strip_prefix("--api=")).expect("--api");
        assert!(api == "off" || api.starts_with("127.0.0.1:"), "{name}: {api}");
        for service in objects.of_kind("Service") {
            let ports = items(&service["spec"]["ports"]);
            assert!(ports.iter().all(|port| port["targetPort"] == "telemetry"), "{name}: {ports:?}");
        }
        for policy in objects.of_kind("NetworkPolicy") {
            let rules = items(&policy["spec"]["ingress"]);
            assert_eq!(rules.len(), 1, "{name}");
            assert_eq!(rules[0]["ports"], json!([{ "port": "telemetry", "protocol": "TCP" }]), "{name}");
        }
        // The agent declares its own ports, so that it does not report itself.
        let declared = items(&objects.agent()["ports"]).len();
        assert_eq!(declared, if api == "off" { 1 } else { 2 }, "{name}");
    }
}

fn secrets() {
    for (name, objects) in all() {
        assert!(!objects.has("Secret"), "{name}");
        if name == "full" {
            continue; // these values mount a Secret of the user, and read headers from another
        }
        for (kind, spec) in objects.pod_specs() {
            assert!(!spec.to_string().contains("secret"), "{name} {kind}");
        }
    }
}

fn egress() {
    let ports = |settings: &[&str]| {
        let objects = template_set(settings).expect("renders");
        let policy = &objects.the("NetworkPolicy")["spec"];
        let rules = items(&policy["egress"]).iter().flat_map(|rule| items(&rule["ports"]));
        rules.map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or(""))).collect()
    };
    let none: Vec<String> = ports(&["agent.otlp.endpoint=http://collector:4318"]);
    assert!(none.is_empty(), "{none:?}: nothing is restricted unless asked for");
    let server = "networkPolicy.egressPorts={6443}";
    assert_eq!(ports(&[server]), ["6443/TCP"]);
    for (endpoint, port) in [
        ("http://collector:4318", "4318/TCP"),
        ("http://[fd00::1]:4318/x", "4318/TCP"),
        ("http://otel2", "80/TCP"),
        ("http://10.0.0.5/x", "80/TCP"),
    ] {
        let with = ports(&[server, &format!("agent.otlp.endpoint={endpoint}")]);
        assert_eq!(with, ["6443/TCP", port, "53/UDP", "53/TCP"], "{endpoint}");
    }
}

fn app_armor() {
    let at = |version: &str| template(&["--kube-version", version]).expect("renders");
    let annotation = "container.apparmor.security.beta.kubernetes.io/agent";
    let annotations =
        |objects: &Objects| objects.the("DaemonSet")["spec"]["template"]["metadata"]["annotations"].clone();
    let old = at("1.29.0");
    assert_eq!(annotations(&old)[annotation], "unconfined");
    assert!(old.agent()["securityContext"].get("appArmorProfile").is_none());
    let new = at("1.30.0");
    assert!(annotations(&new).get(annotation).is_none());
    assert_eq!(new.agent()["securityContext"]["appArmorProfile"], json!({ "type": "Unconfined" }));
}

fn quota() {
    let made = |words: &[&str]| template(words).expect("renders").has("ResourceQuota");
    assert!(!made(&["--kube-version", "v1.34.1"]));
    assert!(made(&["--kube-version", "v1.34.1-gke.100"]));
    assert!(!made(&["--kube-version", "v1.34.1-gke.100", "--set", "resourceQuota.mode=never"]));
    assert!(!made(&["--set", "resourceQuota.mode=always,priorityClassName=mine"]));
    assert!(made(&["--set", "resourceQuota.mode=always"]));
}

fn openshift() {
    for (name, objects) in all() {
        let is_on = name == "openshift" || name == "privileged";
        assert_eq!(objects.has("SecurityContextConstraints"), is_on, "{name}");
        if !is_on {
            continue;
        }
        let constraints = objects.the("SecurityContextConstraints");
        let context = &objects.agent()["securityContext"];
        assert_eq!(context["seLinuxOptions"], json!({ "type": "spc_t" }), "{name}");
        assert_eq!(constraints["allowPrivilegedContainer"], context["privileged"], "{name}");
        assert_eq!(
            texts(&constraints["allowedCapabilities"]),
            texts(&context["capabilities"]["add"]),
            "{name}"
        );
        assert_eq!(constraints["allowHostPID"], true);
        for key in ["allowHostNetwork", "allowHostIPC", "allowHostPorts"] {
            assert_eq!(constraints[key], false, "{name}: {key}");
        }
        let account = &objects.the("DaemonSet")["spec"]["template"]["spec"]["serviceAccountName"];
        let user =
            format!("system:serviceaccount:{}:{}", crate::helm::NAMESPACE, account.as_str().expect("a name"));
        assert_eq!(texts(&constraints["users"]), [user]);
    }
}

fn placement() {
    let objects = template(&[]).expect("renders");
    let spec = &objects.the("DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(spec["tolerations"], json!([{ "operator": "Exists" }]));
    assert_eq!(spec["nodeSelector"], json!({ "kubernetes.io/os": "linux" }));
    assert_eq!(spec["priorityClassName"], "system-node-critical");
    assert_eq!(objects.the("DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(objects.agent()[probe]["httpGet"]["port"], "telemetry", "{probe}");
    }
}
