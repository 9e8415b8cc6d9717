//! A host of the page that a case steers: it serves the page's own files, rows that the case sets, and an event stream that can be
//! cut, forget, and lose. It answers what the page asks in the wire types of the contract.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::channel::Channel;
use portolan_report::chart::{AgentSummary, Chart, ChartRow};
use portolan_ui::{FILES, HEADERS, PAGE, PageFile};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Number of events that the host remembers for a page that resumes.
const REMEMBERED: usize = 4096;
/// Events on their way to one follower.
const IN_FLIGHT: usize = 1024;

/// A running host, ended when dropped.
pub struct Host {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    grown: watch::Sender<u64>,
    _server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    chart: Chart,
    agents: Vec<AgentSummary>,
    /// Events with their number.
    log: VecDeque<(u64, String)>,
    next: u64,
    /// Counts the cuts: a stream that began before the last one has ended.
    cuts: u64,
    is_cut: bool,
    /// What the page asked, in order.
    asked: Vec<String>,
    /// Values of `Last-Event-ID`.
    resumed: Vec<String>,
    streams: usize,
}

#[derive(Clone)]
struct Answers {
    shared: Arc<Mutex<Shared>>,
    grown: watch::Receiver<u64>,
}

impl Host {
    /// Starts a host with these rows and one agent.
    pub async fn start(chart: Chart) -> Self {
        let agent = AgentSummary {
            node: "node-1".to_owned(),
            state: "up".to_owned(),
            since: chart.started_at.clone(),
            version: Some("0.1.0".to_owned()),
            started_at: Some(chart.started_at.clone()),
            pods: Some(chart.totals.pods),
            listeners: chart.totals.listeners,
            ..AgentSummary::default()
        };
        let shared = Shared { chart, agents: vec![agent], next: 1, ..Shared::default() };
        let shared = Arc::new(Mutex::new(shared));
        let (grown, growth) = watch::channel(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let router = router(Answers { shared: Arc::clone(&shared), grown: growth });
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, shared, grown, _server: server }
    }

    /// Returns the address of the page with this query.
    pub fn page(&self, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("http://{}/{mark}{query}", self.address)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        let result = act(&mut self.shared.lock().expect("not poisoned"));
        self.grown.send_modify(|times| *times += 1);
        result
    }

    /// Changes rows without an event.
    pub fn change(&self, change: impl FnOnce(&mut Vec<ChartRow>)) {
        self.with(|shared| {
            change(&mut shared.chart.rows);
            let chart = &mut shared.chart;
            super::rows::count(chart);
        });
    }

    pub fn rows(&self) -> Vec<ChartRow> {
        self.with(|shared| shared.chart.rows.clone())
    }

    /// Sends the event of a finding of a row.
    pub fn tell(&self, fingerprint: &str) {
        self.event("Finding", &json!({"kind": "Finding", "fingerprint": fingerprint}));
    }

    /// Sends an event. Those of kind `Traffic` have no id.
    pub fn event(&self, name: &str, data: &Value) {
        self.with(|shared| {
            let number = shared.next;
            shared.next += 1;
            let id = if name == "Traffic" { String::new() } else { format!("id: abc-{number}\n") };
            shared.log.push_back((number, format!("{id}event: {name}\ndata: {data}\n\n")));
            if shared.log.len() > REMEMBERED {
                shared.log.pop_front();
            }
        });
    }

    /// Ends all streams; new ones are refused until [`Self::join`].
    pub fn cut(&self) {
        self.with(|shared| {
            shared.cuts += 1;
            shared.is_cut = true;
        });
    }

    /// Accepts streams again.
    pub fn join(&self) {
        self.with(|shared| shared.is_cut = false);
    }

    /// Forgets all events, so that a stream which resumes is told `reset`.
    pub fn forget(&self) {
        self.with(|shared| shared.log.clear());
    }

    /// Returns the values of `Last-Event-ID` so far.
    pub fn resumed(&self) -> Vec<String> {
        self.with(|shared| shared.resumed.clone())
    }

    /// Returns how often the page asked for a path that begins so.
    pub fn asked(&self, beginning: &str) -> usize {
        self.with(|shared| shared.asked.iter().filter(|one| one.starts_with(beginning)).count())
    }

    /// Returns the number of streams that are open.
    pub fn streams(&self) -> usize {
        self.with(|shared| shared.streams)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self._server.abort();
        self.cut();
    }
}

fn router(answers: Answers) -> Router {
    Router::new()
        .route("/", get(|| async { file(&PAGE) }))
        .route("/ui/{name}", get(ui))
        .route("/v1/chart", get(chart))
        .route("/v1/agents", get(agents))
        .route("/v1/findings/{id}", get(no_finding))
        .route("/v1/findings/{id}/remedies", get(no_finding))
        .route("/v1/explain", get(|| async { StatusCode::NOT_FOUND }))
        .route("/v1/pods", get(|| async { Json(json!({"schema": "portolan/v1", "items": []})) }))
        .route("/v1/watch", get(follow))
        .with_state(answers)
}

/// Returns a file of the page. It is read anew, so that a change of the page needs no build of the tests.
fn file(file: &PageFile) -> Response {
    let below = match file.name.rsplit_once('.') {
        Some((_, "js")) => "js/",
        Some((_, "css")) => "css/",
        _ => "",
    };
    let path = format!("{}/ui/{below}{}", env!("CARGO_MANIFEST_DIR"), file.name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut headers = HeaderMap::new();
    headers.insert("content-type", file.content_type.parse().expect("a value"));
    for (name, value) in HEADERS {
        headers.insert(name, value.parse().expect("a value"));
    }
    (headers, text).into_response()
}

async fn ui(Path(name): Path<String>) -> Response {
    FILES.iter().find(|one| one.name == name).map_or_else(|| StatusCode::NOT_FOUND.into_response(), file)
}

async fn chart(State(answers): State<Answers>, RawQuery(query): RawQuery) -> Json<Chart> {
    let query = query.unwrap_or_default();
    let mut shared = answers.shared.lock().expect("not poisoned");
    shared.asked.push(format!("/v1/chart?{query}"));
    let mut answer = shared.chart.clone();
    answer.as_of = format!("abc-{}", shared.next - 1);
    let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let states = value("state").unwrap_or("open,suppressed").replace("%2C", ",");
    answer.rows.retain(|row| states.split(',').any(|state| state == row.state));
    if let Some(wanted) = value("fingerprint") {
        let wanted = wanted.replace("%2C", ",");
        answer.rows.retain(|row| wanted.split(',').any(|one| one == row.fingerprint));
    }
    Json(answer)
}

async fn agents(State(answers): State<Answers>) -> Json<Value> {
    let mut shared = answers.shared.lock().expect("not poisoned");
    shared.asked.push("/v1/agents".to_owned());
    Json(json!({"schema": "portolan/v1", "items": shared.agents}))
}

/// Notes what was asked about a finding. No finding is known here.
async fn no_finding(State(answers): State<Answers>, path: Uri) -> StatusCode {
    answers.shared.lock().expect("not poisoned").asked.push(path.to_string());
    StatusCode::NOT_FOUND
}

async fn follow(State(answers): State<Answers>, headers: HeaderMap) -> Response {
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (from, cuts, is_lost) = {
        let mut shared = answers.shared.lock().expect("not poisoned");
        shared.asked.push("/v1/watch".to_owned());
        if shared.is_cut {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        shared.resumed.extend(resumed.clone());
        shared.streams += 1;
        let after = resumed.and_then(|id| id.strip_prefix("abc-")?.parse::<u64>().ok());
        let first = shared.log.front().map_or(shared.next, |(number, _)| *number);
        let is_lost = after.is_some_and(|after| after + 1 < first);
        (after.map_or(shared.next, |after| after + 1), shared.cuts, is_lost)
    };
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(IN_FLIGHT);
    tokio::spawn(async move {
        // As the agent does: the reset, if there is one, then the position to resume after.
        let reset = if is_lost { "event: reset\ndata: {}\n\n" } else { "" };
        let first = format!("retry: 1000\n\n{reset}id: abc-{}\n\n", from - 1);
        let _ = sender.send_data(Bytes::from(first)).await;
        pass_on(&answers, sender, from, cuts).await;
        answers.shared.lock().expect("not poisoned").streams -= 1;
    });
    ([("content-type", "text/event-stream"), ("cache-control", "no-store")], Body::new(body)).into_response()
}

/// Sends events from this number on, until the streams are cut or the page has gone.
async fn pass_on(
    answers: &Answers,
    mut sender: http_body_util::channel::Sender<Bytes, Infallible>,
    mut next: u64,
    cuts: u64,
) {
    let mut grown = answers.grown.clone();
    loop {
        grown.borrow_and_update();
        let (texts, after, is_cut) = {
            let shared = answers.shared.lock().expect("not poisoned");
            let texts: String = shared
                .log
                .iter()
                .filter(|(number, _)| *number >= next)
                .map(|(_, text)| text.as_str())
                .collect();
            (texts, shared.next, shared.cuts != cuts)
        };
        if is_cut || (!texts.is_empty() && sender.send_data(Bytes::from(texts)).await.is_err()) {
            return;
        }
        next = after;
        // A comment shows whether the page still listens.
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(500), grown.changed()).await;
        match quiet {
            Ok(Err(_)) => return,
            Ok(Ok(())) => {}
            Err(_) if sender.send_data(Bytes::from(": \n\n")).await.is_err() => return,
            Err(_) => {}
        }
    }
}
