//! The release and the example in the cluster. Created once, and removed on drop, also if a case or the set-up fails.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portolan_testing::waiting::Polling;
use serde_json::Value;

use super::environment::Environment;
use super::example::{self, APP, CURLER};
use super::image;
use super::tools::{Tools, output, output_of};

/// Three minutes, as images may have to be pulled; one attempt a second, as each is a request to the API server.
pub const POLLING: Polling = Polling { patience: Duration::from_secs(180), step: Duration::from_secs(1) };
/// How long helm and kubectl may wait.
const LIMIT: &str = "--timeout=5m";

/// The installed release and the deployed example.
pub struct World {
    pub tools: Tools,
    /// Name of the release, of the agents' namespace, and of the cluster-wide objects of the chart.
    pub release: String,
    /// Namespace of the example.
    pub examples: String,
    /// Image of the example's pods.
    pub example_image: String,
    /// Image of the agent.
    pub agent_image: String,
    /// True if nothing is left to remove.
    is_gone: AtomicBool,
}

impl World {
    /// Installs the chart, deploys the example, and waits until everything runs.
    pub fn set_up(environment: Environment) -> Self {
        let tools = Tools::new(&environment.kubeconfig);
        let release = format!("portolan-e2e-{}", std::process::id());
        let world = Self {
            tools: tools.unwrap_or_else(|missing| panic!("{missing}")),
            examples: format!("{release}-example"),
            example_image: environment.example_image.clone(),
            agent_image: environment.image.clone(),
            release,
            // Nothing is installed yet.
            is_gone: AtomicBool::new(true),
        };
        world
            .kubectl(&["get", "--raw=/readyz"])
            .unwrap_or_else(|error| panic!("no cluster answers: {error}"));
        world.is_gone.store(false, Ordering::Relaxed);
        println!("should this be interrupted, remove it by\n  {}", world.by_hand());
        if let Err(error) = world.install(&environment) {
            world.describe();
            panic!("{error}");
        }
        world
    }

    fn install(&self, environment: &Environment) -> Result<(), String> {
        self.create(&example::namespaces(&self.release, &self.examples))?;
        let chart = chart().display().to_string();
        let mut words = vec!["install", &self.release, &chart, "--wait", LIMIT];
        let settings = image::settings(&environment.image);
        words.extend(settings.iter().flat_map(|setting| ["--set-string", setting]));
        let values = environment.values.as_ref().map(|file| file.display().to_string());
        words.extend(values.iter().flat_map(|file| ["--values", file]));
        self.helm(&words)?;
        self.rolled_out()?;
        self.create(&example::app(&self.examples, &environment.example_image))?;
        let app = self.address_when_ready(APP);
        let service = self.object("service", &self.examples, APP)?;
        let service = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        self.create(&example::curler(&self.examples, &environment.example_image, &app, service))?;
        self.address_when_ready(CURLER);
        Ok(())
    }

    pub fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        output(&mut self.tools.kubectl(words))
    }

    /// Runs helm in the namespace of the release.
    pub fn helm(&self, words: &[&str]) -> Result<String, String> {
        output(self.tools.helm(words).args(["--namespace", &self.release]))
    }

    pub fn create(&self, objects: &Value) -> Result<String, String> {
        output_of(&mut self.tools.kubectl(&["create", "--filename=-"]), &objects.to_string())
    }

    /// Waits until the newest agent is ready on every node.
    pub fn rolled_out(&self) -> Result<String, String> {
        let set = format!("daemonset/{}", self.release);
        self.kubectl(&["--namespace", &self.release, "rollout", "status", &set, LIMIT])
    }

    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<Value, String> {
        self.json(&["--namespace", namespace, "get", kind, name])
    }

    fn json(&self, words: &[&str]) -> Result<Value, String> {
        let text = output(self.tools.kubectl(words).args(["--output", "json"]))?;
        serde_json::from_str(&text).map_err(|error| format!("{words:?}: {error}"))
    }

    fn address_when_ready(&self, pod: &str) -> String {
        POLLING.eventually(&format!("pod {pod} is ready"), || {
            address(&self.object("pod", &self.examples, pod)?)
        })
    }

    /// Returns the name of the agent's pod on the node of the example.
    pub fn agent(&self) -> Result<String, String> {
        let app = self.object("pod", &self.examples, APP)?;
        let node = app["spec"]["nodeName"].as_str().ok_or("the example is on no node")?;
        let pods = self.json(&[
            &format!("--namespace={}", self.release),
            "get",
            "pods",
            &format!(
                "--selector=app.kubernetes.io/instance={},app.kubernetes.io/component=agent",
                self.release
            ),
            &format!("--field-selector=spec.nodeName={node}"),
        ])?;
        let pods = pods["items"].as_array().ok_or("no list of pods")?;
        let staying: Vec<&Value> =
            pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
        match staying.as_slice() {
            [pod] => Ok(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()),
            others => Err(format!("{} agents on node {node}", others.len())),
        }
    }

    /// Prints the state of the cluster, for debugging.
    pub fn describe(&self) {
        let agents = format!("app.kubernetes.io/instance={}", self.release);
        for words in [
            vec!["get", "pods", "--output=wide", "--namespace", &self.release],
            vec!["get", "pods", "--output=wide", "--namespace", &self.examples],
            vec!["get", "events", "--sort-by=.lastTimestamp", "--namespace", &self.release],
            vec!["get", "events", "--sort-by=.lastTimestamp", "--namespace", &self.examples],
            vec!["logs", "--selector", &agents, "--prefix", "--tail=15", "--namespace", &self.release],
            vec![
                "logs",
                "--selector",
                &agents,
                "--prefix",
                "--tail=15",
                "--previous",
                "--namespace",
                &self.release,
            ],
        ] {
            println!(
                "\n$ kubectl {}\n{}",
                words.join(" "),
                self.kubectl(&words).unwrap_or_else(|error| error)
            );
        }
    }

    /// Returns the commands that remove everything by hand.
    fn by_hand(&self) -> String {
        format!(
            "helm uninstall {0} --namespace {0}; kubectl delete namespace {0} {1}",
            self.release, self.examples
        )
    }

    /// Uninstalls and removes everything. Returns what could not be removed.
    pub fn tear_down(&self) -> Vec<String> {
        if self.is_gone.swap(true, Ordering::Relaxed) {
            return Vec::new();
        }
        let mut left = self.uninstall();
        let delete = ["delete", "namespace", &self.release, &self.examples, "--ignore-not-found", LIMIT];
        left.extend(self.kubectl(&delete).err());
        for namespace in [&self.release, &self.examples] {
            left.extend(self.still_there(&["namespace", namespace]));
        }
        let label = format!("--selector=app.kubernetes.io/instance={}", self.release);
        let cluster = self.still_there(&["clusterroles,clusterrolebindings", &label]);
        if !cluster.is_empty() {
            // Reported as left behind, but removed here: the uninstallation failed before it.
            left.extend(self.kubectl(&["delete", "clusterroles,clusterrolebindings", &label]).err());
        }
        left.extend(cluster);
        left
    }

    /// Uninstalls the release. Returns what it leaves in its namespace.
    fn uninstall(&self) -> Vec<String> {
        // Without a release there is nothing to remove.
        let Ok(manifest) = self.helm(&["get", "manifest", &self.release]) else { return Vec::new() };
        let mut left = Vec::new();
        let words = ["uninstall", &self.release, "--cascade=foreground", "--wait", LIMIT];
        left.extend(self.helm(&words).err());
        // Both the installed objects and all other objects with their label must be gone.
        let get =
            ["get", "--filename=-", "--ignore-not-found", "--output=name", "--namespace", &self.release];
        left.extend(names(output_of(&mut self.tools.kubectl(&get), &manifest)));
        left.extend(names(self.helm(&["list", "--short"])));
        let namespace = format!("--namespace={}", self.release);
        let label = format!("--selector=app.kubernetes.io/instance={}", self.release);
        left.extend(self.still_there(&[
            "all,configmaps,serviceaccounts,networkpolicies",
            &namespace,
            &label,
        ]));
        left
    }

    fn still_there(&self, words: &[&str]) -> Vec<String> {
        let mut all = vec!["get"];
        all.extend(words);
        all.extend(["--ignore-not-found", "--output=name"]);
        names(self.kubectl(&all))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for thing in self.tear_down() {
            eprintln!("left behind: {thing}");
        }
    }
}

/// Returns the names in an answer, one per line, or the error as the only entry.
fn names(answer: Result<String, String>) -> Vec<String> {
    match answer {
        Ok(text) => text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
        Err(error) => vec![error],
    }
}

/// The chart's directory.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/portolan")
}

/// Returns the address of a pod if it is ready.
fn address(pod: &Value) -> Result<String, String> {
    let status = &pod["status"];
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_ready =
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    match (is_ready, status["podIP"].as_str()) {
        (true, Some(address)) => Ok(address.to_owned()),
        _ => Err(format!("its status is {status}")),
    }
}
