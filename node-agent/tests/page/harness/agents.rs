//! Agents of several nodes behind a stand-in API server, and `kubectl portolan ui` that shows them on one page.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use clap::Parser;
use portolan_client::cluster;
use portolan_client::cluster::args::Cli;
use portolan_client::query::console::Console;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::DeclarationStatus;
use portolan_testing::api_server::server::{Server, Settings, Transport};
use portolan_testing::scratch::Scratch;
use serde_json::json;
use tokio::sync::oneshot;

use super::gate::{Beyond, Gate};
use super::waiting::eventually;
use crate::model::{Node, finding, listener, pod};
use crate::served::Served;

/// Codes of the findings of a node in turn.
const CODES: [FindingCode; 4] = [
    FindingCode::UndeclaredReachable,
    FindingCode::UndeclaredActive,
    FindingCode::UndeclaredBlocked,
    FindingCode::UndeclaredLoopback,
];

/// A cluster with agents.
pub struct Agents {
    server: Server,
    scratch: Scratch,
    agents: Vec<Served>,
}

/// The page of a cluster, behind a gate.
pub struct Page {
    pub gate: Gate,
    /// Path and query that open it once.
    entry: String,
    /// Ends the command when dropped.
    _stop: oneshot::Sender<()>,
}

impl Agents {
    /// Starts agents with so many findings each.
    pub async fn start(nodes: usize, findings: u16) -> Self {
        let settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
        let server = Server::start(Transport::Tls, settings).await;
        let mut agents = Self { server, scratch: Scratch::new("page"), agents: Vec::new() };
        for number in 1..=nodes {
            agents.add(number, findings).await;
        }
        agents
    }

    async fn add(&mut self, number: usize, findings: u16) {
        let served = Served::start(node(number, findings)).await;
        self.lead(number, served.address);
        let name = format!("portolan-node-{number}");
        self.server.put(
            "pods",
            json!({
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": name, "namespace": "portolan",
                    "labels": {"app.kubernetes.io/part-of": "portolan", "app.kubernetes.io/component": "agent"}},
                "spec": {"nodeName": format!("node-{number}"), "containers": []},
                "status": {"phase": "Running"},
            }),
        );
        self.agents.push(served);
    }

    fn lead(&self, number: usize, to: SocketAddr) {
        self.server.change_settings(|settings| {
            settings.forwards.insert((format!("portolan-node-{number}"), 9470), to);
        });
    }

    /// Ends the agent of a node. Its number counts from 1.
    pub fn end(&mut self, number: usize) {
        self.agents[number - 1].shut_down();
    }

    /// Starts the agent of a node again.
    pub async fn start_again(&mut self, number: usize, findings: u16) {
        let served = Served::start(node(number, findings)).await;
        self.lead(number, served.address);
        self.agents[number - 1] = served;
    }

    /// Runs a command of `kubectl portolan`. Returns what it writes to stdout.
    pub async fn run(&self, line: &str) -> String {
        let out = Written::default();
        cluster::answer(&self.command(line), &mut Console::new(out.clone(), Written::default())).await;
        out.text()
    }

    /// Starts `kubectl portolan ui`.
    pub async fn page(&self) -> Page {
        let (out, words) = (Written::default(), Written::default());
        let (stop, stopped) = oneshot::channel();
        let (cli, to, said) = (self.command("ui --no-browser"), out.clone(), words.clone());
        // The command runs on one thread, as it does for a user.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let mut console = Console::new(to, said);
                tokio::select! {
                    _ = cluster::answer(&cli, &mut console) => {}
                    _ = stopped => {}
                }
            });
        });
        let url = eventually("ui prints its address", async || {
            out.text().lines().next().map(str::to_owned).ok_or_else(|| words.text())
        })
        .await;
        let url = url::Url::parse(&url).expect("an address");
        let address =
            (url.host_str().expect("a host").parse().expect("an address"), url.port().expect("a port"));
        let gate =
            Gate::before(Beyond::Tcp(SocketAddr::from((std::net::IpAddr::V4(address.0), address.1)))).await;
        Page { gate, entry: format!("/?{}", url.query().expect("a key")), _stop: stop }
    }

    fn command(&self, line: &str) -> Cli {
        let kubeconfig = self.server.client_files(self.scratch.directory()).kubeconfig;
        let kubeconfig = kubeconfig.to_str().expect("text");
        let words =
            ["kubectl-portolan", "--kubeconfig", kubeconfig].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).expect("parses")
    }
}

impl Page {
    /// Returns the address with the key, which opens the page once.
    pub fn entry(&self) -> String {
        format!("{}{}", self.gate.url(), self.entry)
    }
}

/// Returns a node whose pods have findings that no other node has.
fn node(number: usize, findings: u16) -> Node {
    let name: &'static str = Box::leak(format!("node-{number}").into_boxed_str());
    let mut node = Node {
        name,
        findings: Vec::new(),
        listeners: Vec::new(),
        connections: Vec::new(),
        ..Node::default()
    };
    for index in 0..findings {
        let owner = pod(&format!("team-{}", number % 20), &format!("app-{number}-{}", index / 4));
        let listener =
            Arc::new(listener(Some(owner), Protocol::Tcp, 7000 + index, DeclarationStatus::Undeclared));
        node.findings.push(Arc::new(finding(CODES[usize::from(index) % CODES.len()], &listener)));
        node.listeners.push(listener);
    }
    node
}

/// A stream that keeps what is written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
