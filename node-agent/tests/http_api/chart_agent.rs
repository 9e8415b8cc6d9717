//! A stand-in agent whose chart, pods and events the test writes, and one that answers anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use portolan_report::chart::{Chart, ChartRow, RowCounts, TrafficCounts};
use portolan_report::wire::SCHEMA;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::kubectl_portolan::Cluster;
use crate::served::eventually;

/// A time in the past, as objects have it.
pub const TIME: &str = "2026-03-04T12:00:00Z";

/// The content of the agent.
struct Content {
    node: &'static str,
    rows: Mutex<Vec<ChartRow>>,
    pods: Mutex<Vec<Value>>,
    /// Texts of events.
    events: broadcast::Sender<String>,
    /// Paths that were asked for.
    asked: Mutex<Vec<String>>,
}

/// A running agent. Its connections are closed on drop.
pub struct ChartAgent {
    pub address: SocketAddr,
    content: Arc<Content>,
    _connections: JoinSet<()>,
}

/// A row of the workload shop/NAME on one pod.
pub fn row(fingerprint: &str, name: &str, severity: &str, connections: u64) -> ChartRow {
    ChartRow {
        fingerprint: fingerprint.to_owned(),
        namespace: Some("shop".to_owned()),
        workload: Some(portolan_report::wire::Workload { kind: "Deployment".into(), name: name.into() }),
        pod: Some(format!("{name}-1")),
        port: Some(9229),
        protocol: Some("TCP".to_owned()),
        process: Some("node".to_owned()),
        code: Some("undeclared-active".to_owned()),
        severity: Some(severity.to_owned()),
        state: "open".to_owned(),
        declaration: "undeclared".to_owned(),
        exposure: "pod".to_owned(),
        policy: "not-isolated".to_owned(),
        pods: 1,
        pods_total: Some(1),
        attempts: connections,
        connections,
        first_seen: TIME.to_owned(),
        last_seen: Some(TIME.to_owned()),
        findings: vec![format!("finding-{fingerprint}")],
        ..ChartRow::default()
    }
}

/// A pod of the Deployment NAME.
pub fn pod(node: &str, name: &str, number: usize, address: &str) -> Value {
    json!({
        "schema": SCHEMA, "node": node, "time": TIME,
        "pod": {
            "namespace": "shop", "name": format!("{name}-{number}"), "uid": format!("{node}-{name}-{number}"),
            "hostNetwork": false, "workload": {"kind": "Deployment", "name": name},
        },
        "addresses": [address], "labels": {},
    })
}

impl ChartAgent {
    pub async fn start(node: &'static str, rows: Vec<ChartRow>, pods: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let content = Arc::new(Content {
            node,
            rows: Mutex::new(rows),
            pods: Mutex::new(pods),
            events: broadcast::Sender::new(64),
            asked: Mutex::default(),
        });
        let mut accepting = JoinSet::new();
        let served = Arc::clone(&content);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                connections.spawn(answer(stream, Arc::clone(&served)));
            }
        });
        Self { address, content, _connections: accepting }
    }

    /// Starts an agent as that of a node of the cluster.
    pub async fn of(cluster: &Cluster, node: &'static str, rows: Vec<ChartRow>, pods: Vec<Value>) -> Self {
        let agent = Self::start(node, rows, pods).await;
        cluster.forward(node, agent.address);
        cluster.pod(node, "Running");
        agent
    }

    pub fn set_rows(&self, rows: Vec<ChartRow>) {
        *self.content.rows.lock().expect("lock") = rows;
    }

    /// Tells that the finding of a row changed.
    pub fn tell(&self, fingerprint: &str) {
        let finding = json!({
            "kind": "Finding", "schema": SCHEMA, "node": self.content.node, "time": TIME,
            "id": format!("finding-{fingerprint}"), "fingerprint": fingerprint,
        });
        self.send(&format!("id: e-1\nevent: Finding\ndata: {finding}\n\n"));
    }

    /// Tells that the finding of a row has another fingerprint now.
    pub fn tell_renamed(&self, fingerprint: &str, former: &str) {
        let finding = json!({
            "kind": "Finding", "schema": SCHEMA, "node": self.content.node, "time": TIME,
            "id": format!("finding-{former}"), "fingerprint": fingerprint, "formerFingerprint": former,
        });
        self.send(&format!("id: e-2\nevent: Finding\ndata: {finding}\n\n"));
    }

    /// Tells counts of a row.
    pub fn count(&self, fingerprint: &str, connections: u64) {
        let items = vec![RowCounts {
            fingerprint: fingerprint.to_owned(),
            attempts: connections,
            connections,
            last_seen: TIME.to_owned(),
            ..RowCounts::default()
        }];
        let counts = TrafficCounts { schema: SCHEMA.to_owned(), time: TIME.to_owned(), items };
        let json = serde_json::to_string(&counts).expect("JSON");
        self.send(&format!("event: Traffic\ndata: {json}\n\n"));
    }

    /// Sends any text to the followers.
    pub fn send(&self, text: &str) {
        self.content.events.send(text.to_owned()).expect("a follower");
    }

    /// Returns the number of requests whose path contains this.
    pub fn asked(&self, path: &str) -> usize {
        self.content.asked.lock().expect("lock").iter().filter(|asked| asked.contains(path)).count()
    }

    pub async fn is_followed(&self) {
        eventually("it is followed", || self.content.events.receiver_count() > 0).await;
    }
}

async fn answer(mut stream: TcpStream, content: Arc<Content>) {
    let mut request = [0; 8192];
    let length = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    content.asked.lock().expect("lock").push(path.clone());
    let (route, query) = path.split_once('?').unwrap_or((&path, ""));
    let body = match route {
        "/v1/watch" => return follow(stream, &content).await,
        "/v1/status" => status(content.node),
        "/readyz" => json!({}),
        "/v1/pods" => {
            let pods = content.pods.lock().expect("lock").clone();
            json!({"schema": SCHEMA, "items": pods, "continue": null, "generation": 1})
        }
        "/v1/chart" => json!(chart(&content, query)),
        _ => {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
            return;
        }
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

async fn follow(mut stream: TcpStream, content: &Content) {
    let mut events = content.events.subscribe();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1000\n\n";
    let _ = stream.write_all(head.as_bytes()).await;
    while let Ok(event) = events.recv().await {
        if stream.write_all(event.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn chart(content: &Content, query: &str) -> Chart {
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("fingerprint="));
    let wanted: Option<BTreeSet<String>> = wanted.map(|list| {
        let list = percent_decode_str(list).decode_utf8().expect("text").into_owned();
        list.split(',').map(ToOwned::to_owned).collect()
    });
    let mut rows = content.rows.lock().expect("lock").clone();
    rows.retain(|row| wanted.as_ref().is_none_or(|wanted| wanted.contains(&row.fingerprint)));
    let mut chart = Chart {
        schema: SCHEMA.to_owned(),
        node: Some(content.node.to_owned()),
        time: TIME.to_owned(),
        started_at: TIME.to_owned(),
        ..Chart::default()
    };
    for row in &rows {
        *chart.totals.open.entry(row.severity.clone().unwrap_or_default()).or_default() += 1;
        chart.totals.findings += 1;
    }
    (chart.totals.listeners, chart.totals.pods) = (7, 3);
    Chart { rows, ..chart }
}

fn status(node: &str) -> Value {
    json!({
        "schema": SCHEMA, "node": node, "time": TIME, "version": "0.2.0", "kernel": "6.12.0", "hooks": [],
        "sources": [], "namespaces": 1, "listeners": 7, "lost": {"ring-full": 2}, "limits": {},
    })
}

/// Connections to an agent of this version that answers as an older one: it knows neither charts nor counts as events.
pub struct OlderAgent {
    pub address: SocketAddr,
    _connections: JoinSet<()>,
}

impl OlderAgent {
    pub async fn start(agent: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.expect("accepts");
                connections.spawn(answer_as_older(near, agent));
            }
        });
        Self { address, _connections: accepting }
    }
}

async fn answer_as_older(mut near: TcpStream, agent: SocketAddr) {
    let mut request = [0; 8192];
    let length = near.read(&mut request).await.unwrap_or(0);
    let text = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let status = match path {
        path if path.starts_with("/v1/chart") => "404 Not Found",
        path if path.starts_with("/v1/watch") && path.contains("Traffic") => "400 Bad Request",
        _ => {
            let mut far = TcpStream::connect(agent).await.expect("connects");
            far.write_all(&request[..length]).await.expect("sends");
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            return;
        }
    };
    let _ = near.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
}

/// An agent that answers every request with the same bytes, and then closes or waits.
pub struct OddAgent {
    pub address: SocketAddr,
    _connections: JoinSet<()>,
}

impl OddAgent {
    /// `answer` gives the bytes for a path; an answer without end is repeated until the client goes.
    pub async fn start(answer: impl Fn(&str) -> OddAnswer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(answer);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let answer = Arc::clone(&answer);
                connections.spawn(async move {
                    let mut request = [0; 8192];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..length]).into_owned();
                    let answer = answer(request.split(' ').nth(1).unwrap_or_default());
                    let _ = stream.write_all(answer.head.as_bytes()).await;
                    match answer.then {
                        Then::Close => {}
                        Then::Wait => {
                            let _ = stream.read(&mut [0; 1]).await;
                        }
                        Then::Repeat(piece) => while stream.write_all(piece.as_bytes()).await.is_ok() {},
                    }
                });
            }
        });
        Self { address, _connections: accepting }
    }
}

/// What an odd agent sends.
pub struct OddAnswer {
    head: String,
    then: Then,
}

/// What an odd agent does after its answer.
enum Then {
    Close,
    Wait,
    Repeat(String),
}

impl OddAnswer {
    /// A whole answer of this text.
    pub fn whole(body: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Self { head, then: Then::Close }
    }

    /// An answer that is cut.
    pub fn cut(body: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{body}");
        Self { head, then: Then::Close }
    }

    /// No answer.
    pub fn silence() -> Self {
        Self { head: String::new(), then: Then::Wait }
    }

    /// The head of an event stream that stays open.
    pub fn stream() -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1000\n\n".to_owned();
        Self { head, then: Then::Wait }
    }

    /// An answer without end.
    pub fn endless(piece: &str) -> Self {
        Self { head: "HTTP/1.1 200 OK\r\n\r\n[".to_owned(), then: Then::Repeat(piece.repeat(1000)) }
    }

    /// A chart with these rows.
    pub fn chart(rows: &[Value]) -> Self {
        let totals = portolan_report::chart::ChartTotals::default();
        let chart = json!({
            "schema": SCHEMA, "time": TIME, "asOf": "", "startedAt": TIME, "rows": rows, "declared": [],
            "totals": totals, "missing": [],
        });
        Self::whole(&chart.to_string())
    }

    /// The status of an agent, as JSON.
    pub fn status(node: &str) -> Self {
        Self::whole(&status(node).to_string())
    }
}
