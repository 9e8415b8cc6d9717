//! Tests of `kubectl portolan scan`: the real plugin against a stand-in API server that plays the Job controller and the
//! kubelets. tests/recorded/scan.log is the real output of `portolan scan --output=json`.
#![cfg(unix)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use portolan_testing::api_server::fault::{Fault, On};
use portolan_testing::api_server::pod_outcome::PodOutcome;
use portolan_testing::api_server::server::{Server, Settings, Transport};
use portolan_testing::scratch::Scratch;
use portolan_testing::waiting::Polling;
use serde_json::{Value, json};

const ANSWER: &str = include_str!("recorded/scan.log");
const POLLING: Polling = Polling { patience: Duration::from_secs(20), step: Duration::from_millis(20) };

struct Cluster {
    server: Server,
    kubeconfig: PathBuf,
    _scratch: Scratch,
}

struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ends(code: i32, log: impl Into<String>) -> PodOutcome {
    PodOutcome::Ends { code, log: log.into() }
}

fn node(name: &str, ready: &str) -> Value {
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": "NodeStatusUnknown"}],
            "nodeInfo": {
                "operatingSystem": "linux", "kubeletVersion": "v1.36.2", "containerRuntimeVersion": "containerd://2.1.0",
                "architecture": "amd64", "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                "osImage": "", "systemUUID": "",
            },
        },
    })
}

impl Cluster {
    async fn start(pods: &[(&str, PodOutcome)]) -> Self {
        let job_pods = pods.iter().map(|(node, outcome)| ((*node).to_owned(), outcome.clone())).collect();
        let settings = Settings { token: Some("secret".to_owned()), job_pods, ..Settings::default() };
        let server = Server::start(Transport::Tls, settings).await;
        for (name, _) in pods {
            server.put("nodes", node(name, "True"));
        }
        let scratch = Scratch::new("scan");
        let kubeconfig = server.client_files(scratch.directory()).kubeconfig;
        Self { server, kubeconfig, _scratch: scratch }
    }

    fn namespace(&self, name: &str, enforce: &str) {
        let labels = json!({"pod-security.kubernetes.io/enforce": enforce});
        let metadata = json!({"name": name, "labels": labels});
        self.server.put("namespaces", json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}));
    }

    fn spawn(&self, words: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-portolan"));
        command.args(["--timeout", "5", "scan", "--image", "registry.example/portolan:test"]);
        command.args(words.split_whitespace()).env("KUBECONFIG", &self.kubeconfig);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    }

    async fn run(&self, words: &str) -> Outcome {
        outcome(self.spawn(words)).await
    }

    /// Waits until the pods of this many Jobs exist.
    async fn pods(&self, count: usize) {
        tokio::task::block_in_place(|| {
            POLLING.eventually("the pods", || match self.server.objects("pods").len() {
                found if found == count => Ok(()),
                found => Err(format!("{found} pods")),
            });
        });
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.server.objects("jobs"), Vec::<Value>::new());
        assert_eq!(self.server.objects("pods"), Vec::<Value>::new());
    }
}

async fn outcome(child: Child) -> Outcome {
    let wait = move || child.wait_with_output().expect("ends");
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(wait).await.expect("ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Outcome { code: status.code(), out: text(stdout), err: text(stderr) }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_findings_of_all_nodes_are_merged_and_everything_is_deleted() {
    let noisy = format!("portolan: 2 UDP ports may be clients'\n{ANSWER}");
    let cluster = Cluster::start(&[("worker-1", ends(0, noisy)), ("worker-2", ends(0, ANSWER))]).await;
    let first = cluster.run("-o json").await;
    assert_eq!(first.code, Some(0), "{}", first.err);
    let answer: Value = serde_json::from_str(&first.out).expect("JSON");
    assert_eq!(answer["nodes"], json!(["worker-1", "worker-2"]));
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer["items"][0]["listener"]["port"], json!(9229));
    assert_has(&first.err, &["worker-1: 2 UDP ports may be clients'", "who calls these ports is unknown"]);
    cluster.assert_nothing_is_left();
    assert_eq!(cluster.run("--fail-on low").await.code, Some(1));
    for format in ["json", "junit", "table"] {
        let mut child = cluster.spawn(&format!("--fail-on low -o {format}"));
        drop(child.stdout.take());
        assert_eq!(outcome(child).await.code, Some(1), "{format}, and nobody reads it");
    }
    let mut child = cluster.spawn("--fail-on low");
    drop(child.stderr.take());
    let unsaid = outcome(child).await;
    assert_eq!(unsaid.code, Some(1));
    assert_has(&unsaid.out, &["shop/cart-", "9229"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_an_answer_are_named_at_once_with_the_reason() {
    let message = "Back-off pulling image \"registry.example/portolan:test\"";
    let refused = "portolan: this node does not allow it: CAP_SYS_ADMIN is missing\n";
    let cluster = Cluster::start(&[
        ("worker-1", ends(0, ANSWER)),
        ("worker-2", PodOutcome::Waits { reason: "ImagePullBackOff", message }),
        ("worker-3", ends(4, refused)),
        ("worker-4", ends(0, &ANSWER[200..])),
    ])
    .await;
    cluster.server.put("nodes", node("worker-5", "Unknown"));
    let outcome = cluster.run("--node-selector kubernetes.io/os=linux").await;
    assert_eq!(outcome.code, Some(3), "{}", outcome.err);
    assert_has(&outcome.out, &["worker-1", "9229"]);
    assert_has(
        &outcome.err,
        &[
            "of 5 nodes, 4 could not be scanned in full",
            "worker-2: its container cannot start: ImagePullBackOff: Back-off pulling",
            "worker-3: this node does not allow it: CAP_SYS_ADMIN is missing",
            "worker-4: its log is not a whole answer",
            "worker-5: the node is not ready (NodeStatusUnknown)",
        ],
    );
    cluster.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_done_by_the_deadline_is_named() {
    let cluster = Cluster::start(&[("worker-1", ends(0, ANSWER)), ("worker-2", PodOutcome::Runs)]).await;
    let outcome = cluster.run("--deadline 5").await;
    assert_eq!(outcome.code, Some(3), "{}", outcome.err);
    assert_has(&outcome.err, &["worker-2: not done within 5 s (--deadline): its pod still runs"]);
    cluster.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_and_sigterm_delete_everything() {
    for (name, words, report) in [("-INT", "", ""), ("-TERM", "-o junit", "stopped")] {
        let cluster = Cluster::start(&[("worker-1", PodOutcome::Runs), ("worker-2", PodOutcome::Runs)]).await;
        let child = cluster.spawn(words);
        cluster.pods(2).await;
        signal(&child, name);
        let outcome = outcome(child).await;
        assert_eq!((outcome.code, outcome.out.is_empty()), (Some(3), report.is_empty()), "{}", outcome.err);
        assert_has(&outcome.out, &[report]);
        assert_has(&outcome.err, &["stopped: deleting what the scan created"]);
        cluster.assert_nothing_is_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_deletes_everything_though_nobody_reads_the_messages() {
    let cluster = Cluster::start(&[("worker-1", PodOutcome::Runs)]).await;
    let mut child = cluster.spawn("");
    cluster.pods(1).await;
    drop(child.stderr.take());
    drop(child.stdout.take());
    signal(&child, "-INT");
    assert_eq!(outcome(child).await.code, Some(3));
    cluster.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_look_at_the_pods_is_enough_to_read_the_logs_of_all() {
    let names: Vec<String> = (0..40).map(|number| format!("worker-{number:02}")).collect();
    let run = |outcome: &PodOutcome| names.iter().map(|name| (name.clone(), outcome.clone())).collect();
    let running: Vec<(&str, PodOutcome)> =
        names.iter().map(|name| (name.as_str(), PodOutcome::Runs)).collect();
    let cluster = Cluster::start(&running).await;
    let child = cluster.spawn("-o json");
    cluster.pods(40).await;
    cluster.server.fail(On::Lists("pods"), Fault::Status(500));
    let done = ends(0, ANSWER);
    cluster.server.change_settings(|settings| settings.job_pods = run(&done));
    for mut pod in cluster.server.objects("pods") {
        pod["status"] = done.status();
        cluster.server.put("pods", pod);
    }
    let log = cluster.server.log();
    let logs_read = || log.all().iter().filter(|request| request.path.ends_with("/log")).count();
    cluster.server.heal();
    tokio::task::block_in_place(|| {
        POLLING.eventually("the first log", || {
            if logs_read() > 0 { Ok(()) } else { Err("none yet".to_owned()) }
        });
    });
    // Whoever needs more looks than that gets none.
    cluster.server.fail(On::Lists("pods"), Fault::Status(500));
    tokio::task::block_in_place(|| {
        POLLING.eventually("all logs", || match logs_read() {
            40 => Ok(()),
            count => Err(format!("{count} logs")),
        });
    });
    cluster.server.heal();
    let outcome = outcome(child).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let answer: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(answer["nodes"].as_array().map(Vec::len), Some(40));
    cluster.assert_nothing_is_left();
    let created = log.all().into_iter().find(|request| request.method == "POST").expect("a Job");
    let job: Value = serde_json::from_str(&created.body).expect("JSON");
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], json!(70), "more nodes, more time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_leaves_the_rest_and_names_the_command() {
    let cluster = Cluster::start(&[("worker-1", PodOutcome::Runs)]).await;
    let child = cluster.spawn("");
    cluster.pods(1).await;
    cluster.server.fail(On::Kind("jobs"), Fault::Stall);
    signal(&child, "-INT");
    let log = cluster.server.log();
    tokio::task::block_in_place(|| {
        POLLING.eventually("the deletion begins", || {
            // A stalled request is logged with no status.
            let requests = log.all();
            let is_stalled =
                requests.iter().any(|request| request.path.ends_with("/jobs") && request.status == 0);
            if is_stalled { Ok(()) } else { Err("no request".to_owned()) }
        });
    });
    signal(&child, "-INT");
    let outcome = outcome(child).await;
    assert_eq!(outcome.code, Some(3), "{}", outcome.err);
    assert_has(&outcome.err, &["to delete it now: kubectl -n kube-system delete jobs -l portolan.dev/scan="]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_plugin_leaves_jobs_that_end_and_are_deleted_by_themselves_or_by_the_next_scan() {
    let cluster = Cluster::start(&[("worker-1", PodOutcome::Runs)]).await;
    let child = cluster.spawn("--deadline 60");
    cluster.pods(1).await;
    signal(&child, "-KILL");
    outcome(child).await;
    let jobs = cluster.server.objects("jobs");
    let spec = &jobs[0]["spec"];
    assert_eq!(spec["activeDeadlineSeconds"], json!(90));
    assert_eq!(spec["ttlSecondsAfterFinished"], json!(60));
    assert_eq!(spec["template"]["spec"]["activeDeadlineSeconds"], json!(90));
    // The stand-in's objects are months old.
    cluster.server.change_settings(|settings| {
        settings.job_pods.insert("worker-1".to_owned(), ends(0, ANSWER));
    });
    let outcome = cluster.run("").await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_has(&outcome.err, &["deleted 1 Jobs that an earlier scan left"]);
    cluster.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_and_comes_back_changes_nothing() {
    let cluster = Cluster::start(&[("worker-1", PodOutcome::Runs)]).await;
    let child = cluster.spawn("");
    cluster.pods(1).await;
    cluster.server.turn_away().await;
    let log = cluster.server.log();
    tokio::task::block_in_place(|| {
        POLLING.eventually("a request in vain", || {
            let is_lost = log.all().iter().any(|request| request.path.is_empty());
            if is_lost { Ok(()) } else { Err("none yet".to_owned()) }
        });
    });
    cluster.server.come_back().await;
    let done = ends(0, ANSWER);
    let mut pod = cluster.server.objects("pods").remove(0);
    pod["status"] = done.status();
    cluster.server.change_settings(|settings| {
        settings.job_pods.insert("worker-1".to_owned(), done);
    });
    cluster.server.put("pods", pod);
    let outcome = outcome(child).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    cluster.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_pod_security_refuses_is_named_at_once() {
    let cluster = Cluster::start(&[("worker-1", ends(0, ANSWER))]).await;
    cluster.namespace("strict", "baseline");
    cluster.namespace("open", "privileged");
    let outcome = cluster.run("--in-namespace strict").await;
    assert_eq!(outcome.code, Some(3), "{}", outcome.err);
    assert_has(
        &outcome.err,
        &[
            "worker-1: its pod is refused: pods",
            "violates PodSecurity \"baseline:latest\"",
            "--in-namespace names",
        ],
    );
    cluster.assert_nothing_is_left();
    let outcome = cluster.run("--in-namespace open").await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let outcome = cluster.run("--in-namespace none").await;
    assert_eq!(outcome.code, Some(3), "{}", outcome.err);
    assert_has(&outcome.err, &["worker-1: cannot create jobs: namespaces \"none\" not found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_named() {
    let cluster = Cluster::start(&[("worker-1", ends(0, ANSWER))]).await;
    let user = "user system:serviceaccount:portolan:portolan may not";
    for (on, sentence) in [
        (On::Lists("nodes"), "list nodes (a role"),
        (On::Lists("jobs"), "list jobs in namespace kube-system"),
        (On::Writes("jobs"), "create jobs in namespace kube-system"),
        (On::Lists("pods"), "list pods in namespace kube-system"),
    ] {
        cluster.server.fail(on, Fault::Status(403));
        let outcome = cluster.run("").await;
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(3), ""), "{}", outcome.err);
        assert_has(&outcome.err, &[&format!("{user} {sentence}")]);
        cluster.server.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deleted_is_named_with_the_command() {
    let cluster = Cluster::start(&[("worker-1", PodOutcome::Runs)]).await;
    let child = cluster.spawn("");
    cluster.pods(1).await;
    cluster.server.fail(On::Writes("jobs"), Fault::Status(403));
    signal(&child, "-INT");
    let outcome = outcome(child).await;
    assert_eq!(outcome.code, Some(3), "{}", outcome.err);
    assert_has(
        &outcome.err,
        &[
            "may not delete jobs in namespace kube-system",
            "kubectl -n kube-system delete jobs -l portolan.dev/scan=",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_has_least_privileges_limits_and_no_token() {
    let cluster = Cluster::start(&[("worker-1", ends(0, ANSWER))]).await;
    let outcome = cluster.run("-n shop -l app=cart --severity high,low").await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let requests = cluster.server.log().all();
    let created = requests.iter().find(|request| request.method == "POST").expect("a Job was created");
    let job: Value = serde_json::from_str(&created.body).expect("JSON");
    let pod = &job["spec"]["template"]["spec"];
    for (field, value) in [
        ("nodeName", json!("worker-1")),
        ("restartPolicy", json!("Never")),
        ("automountServiceAccountToken", json!(false)),
        ("hostPID", json!(true)),
        ("tolerations", json!([{"operator": "Exists"}])),
    ] {
        assert_eq!(pod[field], value, "{field}");
    }
    for absent in ["hostNetwork", "hostIPC", "serviceAccountName"] {
        assert_eq!(pod[absent], Value::Null, "{absent}");
    }
    assert_eq!(job["spec"]["backoffLimit"], json!(0));
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(
        security["capabilities"],
        json!({"drop": ["ALL"], "add": ["SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"]})
    );
    assert_eq!(security["privileged"], json!(false));
    assert_eq!(security["allowPrivilegeEscalation"], json!(false));
    assert_eq!(security["readOnlyRootFilesystem"], json!(true));
    // kubelet admits it to a node whose CPU and memory are all requested.
    assert_eq!(pod["containers"][0]["resources"]["requests"], json!({"cpu": "0", "memory": "0"}));
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"], json!("false"));
    let volumes = pod["volumes"].as_array().expect("volumes");
    let paths: Vec<&Value> = volumes.iter().map(|volume| &volume["hostPath"]["path"]).collect();
    assert_eq!(paths, [&json!("/run/netns"), &json!("/run/containerd")]);
    let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
    assert!(mounts.iter().all(|mount| mount["readOnly"] == json!(true)), "{mounts:?}");
    assert_eq!(
        pod["containers"][0]["args"],
        json!([
            "scan",
            "--output=json",
            "--metadata=cri",
            "--node-name=worker-1",
            "--namespace=shop",
            "--selector=app in (cart)",
            "--severity=high",
            "--severity=low",
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_get_the_name_of_the_cluster_and_the_secrets_for_the_image() {
    let cluster = Cluster::start(&[("worker-1", ends(0, ANSWER)), ("worker-2", ends(0, ANSWER))]).await;
    let words = "--cluster-name production --image-pull-secret registry --image-pull-secret mirror";
    let outcome = cluster.run(words).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let jobs: Vec<Value> = cluster
        .server
        .log()
        .all()
        .iter()
        .filter(|request| request.method == "POST" && request.path.ends_with("/jobs"))
        .map(|request| serde_json::from_str(&request.body).expect("JSON"))
        .collect();
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}, {"name": "mirror"}]));
        let words = pod["containers"][0]["args"].as_array().expect("arguments");
        assert!(words.contains(&json!("--cluster-name=production")), "{words:?}");
    }
    assert_eq!(cluster.run("").await.code, Some(0));
    let plain = cluster.server.log().all();
    let plain = plain.iter().rfind(|request| request.method == "POST" && request.path.ends_with("/jobs"));
    let plain: Value = serde_json::from_str(&plain.expect("a Job was created").body).expect("JSON");
    let pod = &plain["spec"]["template"]["spec"];
    assert!(pod["imagePullSecrets"].as_array().is_none_or(Vec::is_empty), "{pod}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_kubelets_spelling_is_mounted_as_a_path() {
    let cluster = Cluster::start(&[("worker-1", ends(0, ANSWER))]).await;
    let outcome = cluster.run("--runtime-socket unix:///opt/run/containerd.sock").await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let requests = cluster.server.log().all();
    let created = requests.iter().find(|request| request.method == "POST").expect("a Job was created");
    let job: Value = serde_json::from_str(&created.body).expect("JSON");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][1]["hostPath"]["path"], json!("/opt/run"));
    let words = pod["containers"][0]["args"].as_array().expect("arguments");
    assert!(words.contains(&json!("--metadata=cri=/opt/run/containerd.sock")), "{words:?}");
    let outcome = cluster.run("--runtime-socket tcp://127.0.0.1:1").await;
    assert_eq!(outcome.code, Some(2), "{}", outcome.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_image_the_plugin_says_how_to_name_one() {
    let cluster = Cluster::start(&[]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-portolan"));
    command.arg("scan").env("KUBECONFIG", &cluster.kubeconfig).env_remove("PORTOLAN_IMAGE");
    let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    if option_env!("PORTOLAN_DEFAULT_IMAGE").is_none() {
        assert_eq!((output.status.code(), err.lines().count()), (Some(2), 1), "{err}");
        assert_has(&err, &["--image or PORTOLAN_IMAGE"]);
    }
}
