//! `portolan declare`: which ports it declares and how they are named, and that the real kubectl merges its patches without
//! losing a port.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use portolan_client::query::declare::args::PatchFormat::{self, Json, Kustomize, Yaml};
use portolan_client::query::declare::draft::{Draft, draft};
use portolan_client::query::declare::error::DeclareError;
use portolan_client::query::declare::text::written;
use portolan_report::policy_basis::PolicyBasis;
use portolan_testing::scratch::Scratch;
use portolan_testing::tools;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A port that is served by `python3` in container `app`, undeclared, and called by nobody.
fn port(number: u16) -> Value {
    json!({
        "protocol": "TCP", "port": number, "name": null, "container": "app", "exposure": "pod", "code": "undeclared-reachable",
        "declaration": {"status": "undeclared", "declaredBy": [], "explainedBy": []},
        "process": {"pid": 1, "name": "python3", "executable": null},
        "traffic": {"since": null, "attempts": 0, "connections": 0, "packets": 0, "bytes": 0, "lastSeen": null, "peers": [], "truncated": false},
    })
}

/// Changes fields of a port.
fn with(mut port: Value, changes: Value) -> Value {
    let (Some(fields), Value::Object(changes)) = (port.as_object_mut(), changes) else { unreachable!() };
    fields.extend(changes);
    port
}

fn called(number: u16) -> Value {
    with(port(number), json!({"traffic": traffic("pod", "shop/curler")}))
}

fn traffic(origin: &str, reference: &str) -> Value {
    let at = "2026-11-30T00:00:00Z";
    let peer = json!({
        "address": "10.1.0.3", "origin": origin, "ref": reference, "connections": 1, "packets": 1, "bytes": 1,
        "firstSeen": at, "lastSeen": at,
    });
    json!({"since": at, "attempts": 1, "connections": 1, "packets": 1, "bytes": 1, "lastSeen": at, "peers": [peer], "truncated": false})
}

fn explained(number: u16, source: &str, reference: &str) -> Value {
    let by = json!({"source": source, "ref": reference, "audience": "pods"});
    let declaration = json!({"status": "explained", "declaredBy": [], "explainedBy": [by]});
    with(port(number), json!({"declaration": declaration, "code": "undeclared-explained"}))
}

fn container(name: &str, kind: &str, ports: &[(u16, &str, &str)]) -> Value {
    let ports = ports.iter().map(
        |(port, protocol, name)| json!({"name": name, "port": port, "protocol": protocol, "hostPort": null}),
    );
    json!({"name": name, "kind": kind, "ports": ports.collect::<Vec<_>>()})
}

/// A pod of Deployment `shop/web` with one container that declares 8080 as `http`.
fn pod(ports: &[Value]) -> Value {
    json!({
        "pod": {"namespace": "shop", "name": "web-1", "uid": "u", "workload": {"kind": "Deployment", "name": "web"}, "hostNetwork": false},
        "labels": {}, "policies": [], "containers": [container("app", "regular", &[(8080, "TCP", "http")])], "ports": ports,
    })
}

fn basis(pods: &[Value]) -> PolicyBasis {
    let basis = json!({
        "schema": "portolan/v1", "node": "node-1", "time": "2026-11-30T00:00:00Z",
        "pods": pods, "neighbours": [], "callers": [], "truncated": false,
    });
    serde_json::from_value(basis).expect("a basis")
}

fn drafted(pod: Value) -> Draft {
    draft(&[basis(&[pod])], false, Yaml).expect("a draft")
}

/// The added ports, as `CONTAINER NAME NUMBER/PROTOCOL`.
fn added(draft: &Draft) -> Vec<String> {
    let spec = serde_json::to_value(&draft.spec).expect("json");
    let lists =
        ["containers", "initContainers"].map(|list| spec[list].as_array().cloned().unwrap_or_default());
    let mut all = Vec::new();
    for container in lists.iter().flatten() {
        for port in container["ports"].as_array().expect("ports") {
            let text = |field: &str| port[field].as_str().unwrap_or("-").to_owned();
            let number = &port["containerPort"];
            all.push(format!(
                "{} {} {number}/{}",
                container["name"].as_str().unwrap_or("-"),
                text("name"),
                text("protocol")
            ));
        }
    }
    all
}

fn assert_remark(draft: &Draft, what: &str) {
    assert!(draft.remarks.iter().any(|remark| remark.contains(what)), "{what:?}: {:#?}", draft.remarks);
}

#[test]
fn ports_in_use_are_added_and_named_after_what_explains_them() {
    let of_service = with(explained(9091, "service", "shop/web:80"), json!({"servicePortNames": ["api"]}));
    let redis =
        with(called(6379), json!({"process": {"pid": 2, "name": "redis-server", "executable": null}}));
    let dns = with(called(53), json!({"protocol": "UDP"}));
    let probed = explained(9092, "probe", "container/app/livenessProbe");
    let scraped = explained(9090, "annotation", "prometheus.io/port");
    let draft = drafted(pod(&[dns, redis, called(7000), scraped, of_service, probed, port(7001)]));
    assert_eq!(
        added(&draft),
        [
            "app udp-53 53/UDP",
            "app redis 6379/TCP",
            "app tcp-7000 7000/TCP",
            "app metrics 9090/TCP",
            "app api 9091/TCP",
            "app health 9092/TCP"
        ]
    );
    assert_eq!(
        draft.remarks.first().map(String::as_str),
        Some("kubectl patch deployment web -n shop --patch-file declare.yaml")
    );
    assert_remark(&draft, "7000/TCP of container app as tcp-7000: called by shop/curler, served by python3");
    assert_remark(
        &draft,
        "7001/TCP: nobody called it and nothing explains it, served by python3; --all adds it",
    );
    assert_remark(&draft, "replaces the pods (a rollout)");
}

#[test]
fn what_is_left_out_is_said_with_its_reason() {
    let debug =
        |number, name| with(called(number), json!({"process": {"pid": 2, "name": name, "executable": null}}));
    let elsewhere = json!({"status": "undeclared", "declaredBy": [], "explainedBy": []});
    for (port, why) in [
        (debug(5005, "java"), "5005/TCP: this is likely the Java debugger (JDWP)"),
        (debug(6060, "web"), "6060/TCP: port 6060 is often Go pprof: callers can read memory"),
        (with(called(9901), json!({"exposure": "loopback"})), "it listens on loopback only"),
        (
            explained(15_020, "mesh", "istio in container/istio-proxy"),
            "it belongs to the mesh istio in container/istio-proxy",
        ),
        (with(called(9000), json!({"container": null})), "which container serves it is unknown"),
        (with(called(9000), json!({"container": "linkerd-proxy"})), "is injected by a mesh"),
        (with(called(9000), json!({"container": "debugger"})), "debug container debugger opened it"),
        (with(called(9000), json!({"container": "setup"})), "init container setup ends"),
        (with(called(9000), json!({"container": "gone"})), "is not in the pod's specification"),
        (with(port(9000), json!({"unproven": true, "protocol": "UDP"})), "may be a client's"),
        (with(port(9000), json!({"declaration": elsewhere})), "nobody called it"),
    ] {
        let mut pod = pod(&[port]);
        let containers = pod["containers"].as_array_mut().expect("containers");
        containers.push(container("debugger", "ephemeral", &[]));
        containers.push(container("setup", "init", &[]));
        let draft = drafted(pod);
        assert!(draft.is_empty(), "{:?}", added(&draft));
        assert_remark(&draft, why);
        let written = written(&draft, Yaml).expect("text");
        assert_eq!(written.text, "");
        let is_unknown = why == "which container serves it is unknown";
        let then =
            if is_unknown { "nothing can be declared: " } else { "nothing to declare: deployment shop/web" };
        assert!(written.messages[0].starts_with(then), "{:?}", written.messages);
    }
}

#[test]
fn all_adds_ports_that_nobody_called_and_hints_of_a_debugger_but_no_debugger() {
    let jdwp = with(called(5005), json!({"process": {"pid": 2, "name": "java", "executable": null}}));
    let client = with(port(40_001), json!({"unproven": true, "protocol": "UDP"}));
    let pod = pod(&[port(7000), called(6060), jdwp, client]);
    let draft = draft(&[basis(&[pod])], true, Yaml).expect("a draft");
    assert_eq!(added(&draft), ["app tcp-6060 6060/TCP", "app tcp-7000 7000/TCP"]);
    assert_eq!(draft.warnings.len(), 1, "{:?}", draft.warnings);
}

#[test]
fn a_storm_is_a_range_and_what_is_explained_in_it_is_added() {
    let mut ports: Vec<Value> =
        (20_000..20_300).map(|number| with(called(number), json!({"code": null}))).collect();
    ports.push(explained(9090, "annotation", "prometheus.io/port"));
    let mut pod = pod(&ports);
    pod["storm"] = json!(true);
    let draft = drafted(pod);
    assert_eq!(added(&draft), ["app metrics 9090/TCP"]);
    assert_remark(&draft, "300 ports between 20000 and 20299");
    assert!(draft.remarks.len() < 20, "{:#?}", draft.remarks);
}

#[test]
fn a_name_that_is_taken_or_that_a_service_looks_for_is_not_given() {
    let mut pod = pod(&[
        explained(9090, "annotation", "x"),
        with(explained(9091, "service", "s"), json!({"servicePortNames": ["http"]})),
    ]);
    pod["missingNames"] = json!(["metrics"]);
    let draft = drafted(pod);
    assert_eq!(added(&draft), ["app metrics-2 9090/TCP", "app http-2 9091/TCP"]);
    assert_remark(&draft, "Services look for the port names metrics, which no container declares");
}

#[test]
fn replicas_are_merged_and_a_rollout_under_way_is_seen() {
    let mut second = pod(&[called(9090)]);
    second["pod"]["name"] = json!("web-2");
    let both =
        draft(&[basis(&[pod(&[port(9090)])]), basis(&[second.clone()])], false, Yaml).expect("a draft");
    assert_eq!(added(&both), ["app tcp-9090 9090/TCP"]);
    let declared = json!({"status": "declared", "declaredBy": ["container/app"], "explainedBy": []});
    let newer = pod(&[with(port(9090), json!({"declaration": declared, "code": null}))]);
    let during = draft(&[basis(&[newer, second])], false, Yaml).expect("a draft");
    assert!(during.is_empty());
    assert_remark(&during, "declares it in other pods of the workload: a rollout may be under way");
}

#[test]
fn calls_from_outside_administration_and_the_nodes_network_are_warned_of() {
    let external = with(called(7000), json!({"code": "undeclared-external"}));
    let admin = with(called(2375), json!({"process": {"pid": 2, "name": "dockerd", "executable": null}}));
    let mut pod = pod(&[external, admin]);
    pod["pod"]["hostNetwork"] = json!(true);
    let warnings = drafted(pod).warnings.join("\n");
    for what in [
        "7000/TCP was called from outside the cluster",
        "2375/TCP may not be meant for callers",
        "becomes a hostPort",
    ] {
        assert!(warnings.contains(what), "{what}: {warnings}");
    }
}

fn owned(kind: &str, name: &str) -> Value {
    let mut pod = pod(&[called(9090)]);
    pod["pod"]["workload"] = json!({"kind": kind, "name": name});
    pod
}

#[test]
fn each_kind_of_owner_gets_what_works_for_it() {
    for (kind, name, command, body) in [
        (
            "StatefulSet",
            "db",
            "kubectl patch statefulset db -n shop",
            "spec:\n  template:\n    spec:\n      containers:",
        ),
        (
            "CronJob",
            "b",
            "kubectl patch cronjob b -n shop",
            "spec:\n  jobTemplate:\n    spec:\n      template:\n        spec:",
        ),
        ("Job", "b-29901234", "kubectl patch cronjob b -n shop", "spec:\n  jobTemplate:"),
        (
            "Job",
            "once",
            "The template of a Job cannot change",
            "spec:\n  template:\n    spec:\n      containers:",
        ),
        ("Node", "node-1", "The ports of a running pod cannot change", "spec:\n  containers:"),
        ("Rollout", "web", "works for workloads of Kubernetes' own only", "\ncontainers:"),
    ] {
        let text = written(&drafted(owned(kind, name)), Yaml).expect("text").text;
        assert!(text.contains(command) && text.contains(body), "{kind}: {text}");
    }
    let refused = draft(&[basis(&[owned("Rollout", "web")])], false, Kustomize).expect_err("custom kind");
    assert_eq!(refused, DeclareError::CustomKind { kind: "Rollout".to_owned() });
    let two = draft(&[basis(&[owned("Deployment", "web"), owned("DaemonSet", "web")])], false, Yaml)
        .expect_err("two");
    assert!(two.to_string().contains("shop/DaemonSet/web, shop/Deployment/web"), "{two}");
    let evil = draft(&[basis(&[owned("Deployment", "web; rm -rf /")])], false, Yaml).expect_err("no name");
    assert!(matches!(evil, DeclareError::BadName { .. }));
    let mut old = pod(&[called(9090)]);
    old["containers"] = json!([]);
    assert_eq!(draft(&[basis(&[old])], false, Yaml).expect_err("old"), DeclareError::OldAgent);
}

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers:
      - {name: side, image: x, restartPolicy: Always}
      containers:
      - name: app
        image: x
        ports:
        - {containerPort: 8080, name: http, protocol: TCP}
        - {containerPort: 53, name: dns, protocol: UDP, hostPort: 5353}
      - {name: other, image: z, ports: [{containerPort: 7}]}
";

/// The facts of that Deployment: it serves 9090 too, `more` ports, and 9191 in its sidecar.
fn of_deployment(more: &[Value]) -> PolicyBasis {
    let mut ports = vec![called(9090), with(called(9191), json!({"container": "side"}))];
    ports.extend_from_slice(more);
    let mut pod = pod(&ports);
    let mut app = container("app", "regular", &[(8080, "TCP", "http"), (53, "UDP", "dns")]);
    app["ports"][1]["hostPort"] = json!(5353);
    pod["containers"] = json!([app, container("other", "regular", &[]), container("side", "sidecar", &[])]);
    basis(&[pod])
}

fn run(command: &mut Command) -> Value {
    let output = command.output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_str(&String::from_utf8_lossy(&output.stdout)).expect("yaml")
}

/// Applies the draft to the Deployment with the real kubectl. Returns the ports of each container.
fn applied(basis: &PolicyBasis, format: PatchFormat) -> Vec<String> {
    applied_to(DEPLOYMENT, basis, format)
}

fn applied_to(manifest: &str, basis: &PolicyBasis, format: PatchFormat) -> Vec<String> {
    let kubectl = tools::program("kubectl").expect("kubectl (`cargo xtask setup --tests` installs it)");
    let draft = draft(std::slice::from_ref(basis), false, format).expect("a draft");
    let text = written(&draft, format).expect("text").text;
    let scratch = Scratch::new("declare");
    let deployment = scratch.write("web.yaml", manifest);
    let result = if format == Kustomize {
        // A kustomization that has patches already.
        let own = "namespace: shop\nresources: [web.yaml]\npatches:\n- target: {kind: Deployment, name: web}\n  patch: |-\n    \
                   - {op: add, path: /metadata/annotations, value: {own: patch}}\ncomponents: [web-ports]\n";
        let _ = scratch.write("kustomization.yaml", own);
        std::fs::create_dir(scratch.path("web-ports")).expect("a directory");
        let _ = scratch.write("web-ports/kustomization.yaml", &text);
        run(Command::new(kubectl).arg("kustomize").arg(scratch.directory()))
    } else {
        let patch = scratch.write("declare.yaml", &text);
        let paths: [&Path; 2] = [&deployment, &patch];
        let options = ["patch", "--local", "--dry-run=client", "-o", "yaml", "-f"];
        run(Command::new(kubectl).args(options).arg(paths[0]).arg("--patch-file").arg(paths[1]))
    };
    let spec = &result["spec"]["template"]["spec"];
    let lists =
        ["containers", "initContainers"].map(|list| spec[list].as_array().expect("containers").clone());
    let mut all = Vec::new();
    for container in lists.iter().flatten() {
        for port in container["ports"].as_array().into_iter().flatten() {
            let name = port["name"].as_str().unwrap_or("-");
            let host = port["hostPort"].as_u64().map(|host| format!(" on {host}")).unwrap_or_default();
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            all.push(format!(
                "{} {name} {}/{protocol}{host}",
                container["name"].as_str().unwrap_or("-"),
                port["containerPort"]
            ));
        }
        assert!(container["image"].is_string(), "a container that was not there: {container}");
    }
    all.sort();
    all
}

#[test]
fn kubectl_keeps_every_old_port_and_has_the_new_ones() {
    let old = ["app dns 53/UDP on 5353", "app http 8080/TCP", "other - 7/TCP"];
    for format in [Yaml, Json, Kustomize] {
        let mut expected: Vec<&str> = old.to_vec();
        expected.extend(["app tcp-9090 9090/TCP", "side tcp-9191 9191/TCP"]);
        expected.sort_unstable();
        assert_eq!(applied(&of_deployment(&[]), format), expected, "{format:?}");
        expected.extend(["app tcp-53 53/TCP", "app tcp-5000 5000/TCP", "app udp-5000 5000/UDP"]);
        expected.sort_unstable();
        let udp = with(called(5000), json!({"protocol": "UDP"}));
        let twice = of_deployment(&[called(53), called(5000), udp]);
        assert_eq!(applied(&twice, format), expected, "one number for two protocols, {format:?}");
    }
}

#[test]
fn a_second_protocol_of_a_port_is_added_also_if_the_manifest_leaves_the_first_out() {
    let silent = DEPLOYMENT.replace(", protocol: TCP", "");
    assert_ne!(silent, DEPLOYMENT);
    let udp = with(called(8080), json!({"protocol": "UDP"}));
    let expected = [
        "app dns 53/UDP on 5353",
        "app http 8080/TCP",
        "app tcp-9090 9090/TCP",
        "app udp-8080 8080/UDP",
        "other - 7/TCP",
        "side tcp-9191 9191/TCP",
    ];
    for (manifest, format) in [(&*silent, Kustomize), (DEPLOYMENT, Kustomize), (&*silent, Yaml)] {
        assert_eq!(
            applied_to(manifest, &of_deployment(std::slice::from_ref(&udp)), format),
            expected,
            "{format:?}"
        );
    }
}

#[test]
fn json_has_each_warning_once_in_its_messages() {
    let external = with(called(9090), json!({"code": "undeclared-external"}));
    let draft = draft(&[basis(&[pod(&[external])])], false, Json).expect("a draft");
    let said = written(&draft, Json).expect("text").messages;
    let warnings = said.iter().filter(|line| line.contains("was called from outside the cluster"));
    assert_eq!((draft.warnings.len(), warnings.count()), (1, 1), "{said:?}");
}

#[test]
fn ports_of_unknown_containers_are_not_called_declared() {
    let unknown = with(called(9090), json!({"container": null}));
    let draft = draft(&[basis(&[pod(&[unknown])])], false, Yaml).expect("a draft");
    let said = written(&draft, Yaml).expect("text").messages;
    assert!(
        said[0].starts_with("nothing can be declared: ") && said[0].contains("--metadata cri"),
        "{said:?}"
    );
    assert!(
        said.iter().any(|line| line.contains("9090/TCP: which container serves it is unknown")),
        "{said:?}"
    );
}

proptest! {
    #[test]
    fn whatever_pods_choose_comments_are_harmless_and_the_draft_is_the_same_again(
        words in any::<String>(),
        number in 1_u16..,
        declared in 1_u16..,
    ) {
        let port = with(called(number), json!({
            "process": {"pid": 1, "name": words, "executable": words}, "traffic": traffic("pod", &words),
            "servicePortNames": [words],
        }));
        let mut pod = pod(&[port, explained(declared, &words, &words), with(called(9), json!({"container": words}))]);
        pod["pod"]["name"] = json!(words);
        let basis = basis(&[pod]);
        for format in [Yaml, Kustomize] {
            let drafted = draft(std::slice::from_ref(&basis), true, format).expect("a draft");
            prop_assert_eq!(&drafted, &draft(std::slice::from_ref(&basis), true, format).expect("again"));
            for line in drafted.remarks.iter().chain(&drafted.warnings) {
                prop_assert!(line.chars().all(|c| !c.is_control() && (c.is_ascii() || c.is_alphanumeric() || c == '…')), "{:?}", line);
            }
            let text = written(&drafted, format).expect("text").text;
            prop_assert!(text.lines().skip_while(|line| line.starts_with('#')).all(|line| line.is_ascii()));
            let _: Value = serde_saphyr::from_str(&text).expect("yaml");
        }
    }
}
