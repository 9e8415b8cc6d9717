//! `kubectl portolan` with agents behind a stand-in API server: real port-forwards over real sockets, merged answers, and
//! nodes that do not answer.

use std::io::Write;
use std::path::Path;

use clap::Parser;
use portolan_client::cluster;
use portolan_client::cluster::args::Cli;
use portolan_client::exit::Exit;
use portolan_client::query::console::Console;
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_testing::api_server::fault::{Fault, On};
use portolan_testing::api_server::server::{Server, Settings, Transport};
use serde_json::{Value, json};

use crate::commands::{Gone, Written, scripted};
use crate::golden;
use crate::model::Node;
use crate::served::{Scratch, Served};

/// A stand-in API server with the pods of agents.
pub struct Cluster {
    pub server: Server,
    scratch: Scratch,
    /// The agents that run, in the order of their start.
    pub agents: Vec<Served>,
}

impl Cluster {
    pub async fn new(name: &str) -> Self {
        let settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
        let server = Server::start(Transport::Tls, settings).await;
        Self { server, scratch: Scratch::new(name), agents: Vec::new() }
    }

    /// Starts an agent on a node.
    pub async fn agent(&mut self, node: Node) {
        let name = node.name;
        let served = Served::start(node).await;
        let address = served.address;
        self.pod(name, "Running");
        self.server.change_settings(|settings| {
            settings.forwards.insert((format!("portolan-{name}"), 9470), address);
        });
        self.agents.push(served);
    }

    /// Starts an agent of another version on a node. It answers `times` requests with this problem.
    pub async fn agent_that_says(&self, node: &str, times: usize, status: &str, problem: &Value) {
        let body = problem.to_string();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let url = scripted(vec![answer; times]).await;
        let address = url.trim_start_matches("http://").parse().expect("an address");
        self.pod(node, "Running");
        self.server.change_settings(|settings| {
            settings.forwards.insert((format!("portolan-{node}"), 9470), address);
        });
    }

    /// Forwards to this address as the agent of a node.
    pub fn forward(&self, node: &str, address: std::net::SocketAddr) {
        self.server.change_settings(|settings| {
            settings.forwards.insert((format!("portolan-{node}"), 9470), address);
        });
    }

    /// Creates the pod of an agent without a listener.
    pub fn pod(&self, node: &str, phase: &str) {
        self.server.put("pods", pod(&format!("portolan-{node}"), node, phase));
    }

    /// Writes a file beside the kubeconfig, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.scratch.0.join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    }

    pub async fn run(&self, line: &str) -> Outcome {
        let kubeconfig = self.server.client_files(&self.scratch.0).kubeconfig;
        run(&kubeconfig, line).await
    }

    /// Returns a command that writes to these streams while it runs.
    pub fn run_into<O: Write, W: Write>(
        &self,
        line: &str,
        out: O,
        words: W,
    ) -> impl Future<Output = Exit> + use<O, W> {
        let kubeconfig = self.server.client_files(&self.scratch.0).kubeconfig;
        let cli = parsed(&kubeconfig, line);
        async move { cluster::answer(&cli, &mut Console::new(out, words)).await }
    }
}

fn pod(name: &str, node: &str, phase: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": "portolan",
            "labels": {"app.kubernetes.io/part-of": "portolan", "app.kubernetes.io/component": "agent"},
        },
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": phase},
    })
}

#[derive(Debug)]
pub struct Outcome {
    pub exit: Exit,
    pub out: String,
    pub words: String,
}

fn parsed(kubeconfig: &Path, line: &str) -> Cli {
    let kubeconfig = kubeconfig.to_str().expect("text");
    let words = ["kubectl-portolan", "--kubeconfig", kubeconfig].into_iter().chain(line.split_whitespace());
    Cli::try_parse_from(words).expect("parses")
}

async fn run(kubeconfig: &Path, line: &str) -> Outcome {
    let cli = parsed(kubeconfig, line);
    let (out, words) = (Written::default(), Written::default());
    let exit = cluster::answer(&cli, &mut Console::new(out.clone(), words.clone())).await;
    Outcome { exit, out: out.text(), words: words.text() }
}

pub async fn of_two_nodes(name: &str) -> Cluster {
    let mut cluster = Cluster::new(name).await;
    cluster.agent(Node::default()).await;
    cluster.agent(Node { name: "node-2", ..Node::default() }).await;
    cluster
}

pub async fn of_three_nodes(name: &str) -> Cluster {
    let mut cluster = of_two_nodes(name).await;
    cluster.agent(Node { name: "node-3", ..Node::default() }).await;
    cluster
}

#[tokio::test]
async fn every_command_shows_all_nodes_in_one_answer() {
    let cluster = of_two_nodes("cluster-all").await;
    for command in ["findings", "listeners", "top"] {
        for format in ["table", "wide", "json", "yaml", "name"] {
            let outcome = cluster.run(&format!("{command} -o {format}")).await;
            assert_eq!((outcome.exit, outcome.words.as_str()), (Exit::Fine, ""), "{command} {format}");
            golden::check(&format!("cluster-{command}-{format}.txt"), &outcome.out);
        }
    }
}

#[tokio::test]
async fn filters_that_nothing_matches_are_not_called_all_well() {
    let cluster = of_two_nodes("cluster-nope").await;
    for command in [
        "findings -n nope",
        "findings --code port-storm -n nope",
        "listeners -n nope",
        "connections -n nope -o wide",
    ] {
        let outcome = cluster.run(command).await;
        let then = "Nothing matches what was asked; without these filters there may be more.\n";
        assert_eq!((outcome.out.as_str(), outcome.words.as_str()), ("", then), "{command}");
    }
}

#[tokio::test]
async fn an_error_is_said_though_nobody_reads_its_report() {
    let (cluster, words) = (Cluster::new("cluster-no-reader").await, Written::default());
    assert_eq!(cluster.run_into("findings -o junit", Gone, words.clone()).await, Exit::Partial);
    assert!(words.text().starts_with("no agent found"), "{}", words.text());
}

#[tokio::test]
async fn top_counts_the_pods_of_a_workload_together() {
    let cluster = of_two_nodes("cluster-top").await;
    let outcome = cluster.run("top --undeclared --limit 1 -o json").await;
    let top: Value = serde_json::from_str(&outcome.out).expect("JSON");
    let items = top["items"].as_array().expect("items");
    assert_eq!(items.len(), 1);
    assert_eq!((&items[0]["port"], &items[0]["connections"]), (&json!(9090), &json!(24)), "12 on each node");
    assert_eq!(items[0]["nodes"], json!(["node-1", "node-2"]));
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named_and_the_answer_is_partial() {
    let mut cluster = of_two_nodes("cluster-partial").await;
    cluster.pod("node-3", "Running");
    cluster.pod("node-4", "Pending");
    cluster.agent(Node { name: "node-5", ..Node::default() }).await;
    cluster.agents[2].health.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    let outcome = cluster.run("findings -o json").await;
    assert_eq!(outcome.exit, Exit::Partial);
    let answer: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(answer["nodes"], json!(["node-1", "node-2", "node-5"]));
    let missing: Vec<&str> =
        answer["missing"].as_array().expect("missing").iter().filter_map(|m| m["node"].as_str()).collect();
    assert_eq!(missing, ["node-3", "node-4", "node-5"]);
    for words in
        ["of 5 nodes", "node-3: failed to connect to localhost:9470", "node-4: its agent's pod", "is Pending"]
    {
        assert!(outcome.words.contains(words), "{words}: {}", outcome.words);
    }
    assert!(outcome.words.contains("node-5: its agent is not ready yet"), "{}", outcome.words);
}

#[tokio::test]
async fn a_node_counts_once_while_its_agent_is_replaced_and_the_test_pod_is_none() {
    let cluster = of_two_nodes("cluster-upgrade").await;
    let mut doctor = pod("portolan-doctor", "node-1", "Failed");
    doctor["metadata"]["labels"]["app.kubernetes.io/component"] = json!("doctor");
    let mut leaving = pod("portolan-leaving", "node-1", "Running");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    let starting = pod("portolan-starting", "node-2", "Running");
    let mut evicted = pod("portolan-evicted", "node-2", "Failed");
    evicted["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    for pod in [doctor, leaving, starting, evicted] {
        cluster.server.put("pods", pod);
    }
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let mut serving = pod("portolan-node-2", "node-2", "Running");
    serving["status"]["conditions"] = ready;
    cluster.server.put("pods", serving);
    let outcome = cluster.run("top --undeclared --limit 1 -o json").await;
    assert_eq!((outcome.exit, outcome.words.as_str()), (Exit::Fine, ""));
    let top: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(top["items"][0]["connections"], json!(24), "12 on each node");
}

#[tokio::test]
async fn an_agent_of_another_version_costs_its_node_and_not_the_answer() {
    let cluster = of_two_nodes("cluster-old").await;
    let problem = json!({"pointer": "query/labels", "detail": "unknown parameter"});
    cluster.agent_that_says("node-3", 1, "400 Bad Request", &problem).await;
    let outcome = cluster.run("findings -l app=multi-port-app -o json").await;
    assert_eq!(outcome.exit, Exit::Partial, "{outcome:?}");
    let answer: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(answer["nodes"], json!(["node-1", "node-2"]));
    assert_eq!(answer["missing"][0]["node"], json!("node-3"));
    assert!(outcome.words.contains("query/labels: unknown parameter"), "{outcome:?}");

    let problem = json!({"pointer": "path", "detail": "no such route: /v1/explain"});
    cluster.agent_that_says("node-3", 2, "404 Not Found", &problem).await;
    let outcome = cluster.run("explain :30081").await;
    assert_eq!(outcome.exit, Exit::Partial, "{outcome:?}");
    assert!(outcome.out.contains("── node node-1\n") && outcome.words.contains("node-3: "), "{outcome:?}");
    let outcome = cluster.run("explain nowhere/nothing").await;
    assert_eq!(outcome.exit, Exit::Partial, "node-3 was not able to say that it has none: {outcome:?}");
}

#[tokio::test]
async fn a_name_that_one_node_has_twice_is_said_though_others_have_none() {
    let cluster = of_two_nodes("cluster-twice").await;
    let detail = "2 pods are called web: say which, as one of shop/web, stage/web";
    let problem = json!({"pointer": "query/target", "detail": detail});
    cluster.agent_that_says("node-3", 1, "409 Conflict", &problem).await;
    let outcome = cluster.run("explain nothing").await;
    assert_eq!((outcome.exit, outcome.words.trim_end()), (Exit::WrongUse, detail));
}

#[tokio::test]
async fn a_bad_finding_anywhere_fails_a_script_also_where_a_node_is_missing() {
    let mut cluster = Cluster::new("cluster-fail").await;
    cluster.agent(Node { findings: Vec::new(), ..Node::default() }).await;
    cluster.agent(Node { name: "node-2", ..Node::default() }).await;
    assert_eq!(cluster.run("findings --fail-on high").await.exit, Exit::FailOn);
    assert_eq!(cluster.run("findings --fail-on critical").await.exit, Exit::Fine);
    cluster.pod("node-3", "Running");
    assert_eq!(cluster.run("findings --fail-on high").await.exit, Exit::FailOn);
    assert_eq!(cluster.run("findings --fail-on critical").await.exit, Exit::Partial);
}

#[tokio::test]
async fn where_no_finding_is_open_the_suppressed_ones_of_all_nodes_are_counted() {
    let mut cluster = Cluster::new("cluster-suppressed").await;
    for name in ["node-1", "node-2"] {
        let of_model = Node::default().findings;
        let suppressed = Finding { state: FindingState::Suppressed, ..(*of_model[0]).clone() };
        cluster.agent(Node { name, findings: vec![suppressed.into()], ..Node::default() }).await;
    }
    let outcome = cluster.run("findings").await;
    let words = "No open findings. 2 findings are suppressed by exceptions: --state suppressed shows them.\n";
    assert_eq!((outcome.exit, outcome.out.as_str(), outcome.words.as_str()), (Exit::Fine, "", words));
}

#[tokio::test]
async fn what_cannot_be_asked_is_one_clear_line() {
    let cluster = Cluster::new("cluster-none").await;
    let outcome = cluster.run("findings").await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Partial, ""));
    assert!(
        outcome.words.starts_with("no agent found: no pod in any namespace has the labels"),
        "{outcome:?}"
    );
    let cluster = of_two_nodes("cluster-wrong").await;
    assert_eq!(cluster.run("findings").await.exit, Exit::Fine);
    let outcome = run(Path::new("/nowhere/kubeconfig"), "findings").await;
    assert_eq!(outcome.exit, Exit::WrongUse);
    assert!(outcome.words.starts_with("no credentials for a cluster"), "{outcome:?}");
    cluster.server.change_settings(|settings| settings.token = Some("another".to_owned()));
    let outcome = run(&cluster.scratch.0.join("kubeconfig"), "findings").await;
    assert_eq!(outcome.exit, Exit::Partial);
    let words = "the API server does not accept the credentials of the kubeconfig (401): log in again\n";
    assert_eq!(outcome.words, words);
}

#[tokio::test]
async fn what_is_forbidden_is_one_sentence_with_the_role_that_allows_it() {
    let cluster = of_two_nodes("cluster-forbidden").await;
    cluster.server.change_settings(|settings| settings.forbidden = vec!["get pods/portforward"]);
    let outcome = cluster.run("findings").await;
    assert_eq!(outcome.exit, Exit::Partial);
    let words = "node-1: user jane may not use pods/portforward (get, from Kubernetes 1.35 on also create) \
                 in namespace portolan: the chart's Role portolan-viewer, bound to it there, allows that\n";
    assert!(outcome.words.contains(words), "{outcome:?}");
    assert!(!outcome.words.contains("No findings"), "nobody was asked: {outcome:?}");
    cluster.server.fail(On::Kind("pods"), Fault::Status(403));
    let who = "user system:serviceaccount:portolan:portolan may not list pods";
    let role = "the chart's Role portolan-viewer, bound to it, allows that in the agents' namespace (name it with \
                --agents-namespace)";
    for (line, place) in
        [("findings", "all namespaces"), ("top --agents-namespace portolan", "namespace portolan")]
    {
        let outcome = cluster.run(line).await;
        assert_eq!(outcome.exit, Exit::Partial);
        assert_eq!(outcome.words, format!("{who} in {place}: {role}\n"));
    }
}

#[tokio::test]
async fn explain_shows_the_way_on_each_node_that_has_a_pod() {
    let cluster = of_two_nodes("cluster-explain").await;
    let outcome = cluster.run("explain :30081").await;
    assert_eq!(outcome.exit, Exit::Fine, "{outcome:?}");
    assert!(
        outcome.out.contains("── node node-1\n") && outcome.out.contains("── node node-2\n"),
        "{outcome:?}"
    );
    let outcome = cluster.run("explain nowhere/nothing").await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::WrongUse, ""));
    assert!(outcome.words.starts_with("no agent knows nowhere/nothing"), "{outcome:?}");
    let outcome = cluster.run("explain a:b:c:d").await;
    assert_eq!(outcome.exit, Exit::WrongUse, "{outcome:?}");
    cluster.pod("node-3", "Running");
    let outcome = cluster.run("explain nowhere/nothing").await;
    assert_eq!(outcome.exit, Exit::Partial, "the node that did not answer may have it: {outcome:?}");
}
