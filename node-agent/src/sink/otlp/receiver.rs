//! OTLP receiver for tests: HTTP on a real socket. It decodes requests with the generated messages of OpenTelemetry and
//! answers with scripted replies.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use portolan_testing::api_server::access::Authority;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// The answer to one request.
#[derive(Clone, Debug)]
pub enum Reply {
    Accept,
    /// Accepts the request but rejects this many items, with this reason.
    Partly(i64, &'static str),
    Status(u16),
    /// 429 with this `Retry-After` in seconds.
    Throttle(u64),
    /// 413 to this and all later requests with more bytes than this.
    AtMost(usize),
    /// Never answers.
    Silent,
}

/// What has arrived so far. Batches and metrics are those that were accepted.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// Number of requests, accepted or not.
    pub requests: usize,
    /// Ids and states of findings, in order, one list per batch.
    pub batches: Vec<Vec<(String, String)>>,
    pub metrics: Vec<ExportMetricsServiceRequest>,
    pub headers: HeaderMap,
}

/// A running receiver, stopped on drop.
pub struct Receiver {
    pub address: SocketAddr,
    arrived: watch::Receiver<Arrived>,
    task: AbortHandle,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Replies that are left, and what has arrived.
#[derive(Clone)]
struct Script {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    arrived: watch::Sender<Arrived>,
}

impl Script {
    fn reply(&self, bytes: usize) -> Reply {
        let mut replies = self.replies.lock().expect("lock");
        match replies.front() {
            Some(Reply::AtMost(most)) if bytes > *most => Reply::Status(413),
            Some(Reply::AtMost(_)) => Reply::Accept,
            _ => replies.pop_front().unwrap_or(Reply::Accept),
        }
    }
}

impl Receiver {
    /// Answers with `replies` in order, and accepts all later requests.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("address"), replies).await
    }

    /// Serves over TLS.
    pub async fn start_with(authority: &Authority) -> Self {
        let address = "127.0.0.1:0".parse().expect("address");
        Self::listen(address, [], Some(authority.clone())).await
    }

    pub async fn start_at(address: SocketAddr, replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::listen(address, replies, None).await
    }

    async fn listen(
        address: SocketAddr,
        replies: impl IntoIterator<Item = Reply>,
        authority: Option<Authority>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (sender, arrived) = watch::channel(Arrived::default());
        let replies = Arc::new(Mutex::new(replies.into_iter().collect()));
        let script = Script { replies, arrived: sender };
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, authority) = (script.clone(), authority.clone());
                open.spawn(async move {
                    match authority {
                        None => serve(stream, script).await,
                        Some(authority) => {
                            if let Ok(stream) = authority.acceptor.accept(stream).await {
                                serve(stream, script).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, arrived, task: task.abort_handle() }
    }

    /// Waits until `is_so`, and returns what has arrived.
    pub async fn until(&mut self, is_so: impl FnMut(&Arrived) -> bool) -> Arrived {
        let waited = tokio::time::timeout(Duration::from_secs(30), self.arrived.wait_for(is_so)).await;
        waited.expect("it comes within 30 s").expect("the receiver runs").clone()
    }

    pub fn arrived(&self) -> Arrived {
        self.arrived.borrow().clone()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, script: Script) {
    let service = service_fn(move |request| answer(script.clone(), request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(script: Script, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let mut body = request.into_body().collect().await.expect("a body").to_bytes();
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).expect("gzip");
        body = plain.into();
    }
    let reply = script.reply(body.len());
    script.arrived.send_modify(|arrived| {
        arrived.requests += 1;
        arrived.headers = headers;
        if matches!(reply, Reply::Accept | Reply::Partly(..)) {
            arrived.take(&path, body);
        }
    });
    Ok(match reply {
        Reply::Accept => Response::new(Full::default()),
        Reply::Partly(rejected, why) => {
            let partial = super::messages::PartialSuccess { rejected, error_message: why.to_owned() };
            let body = super::messages::ExportResponse { partial_success: Some(partial) }.encode_to_vec();
            Response::new(Full::new(body.into()))
        }
        Reply::Status(status) => {
            Response::builder().status(status).body(Full::new("not so".into())).expect("an answer")
        }
        Reply::Throttle(secs) => {
            let answer = Response::builder().status(429).header("retry-after", secs);
            answer.body(Full::default()).expect("an answer")
        }
        Reply::AtMost(_) | Reply::Silent => std::future::pending().await,
    })
}

impl Arrived {
    /// Returns ids and states of all findings.
    pub fn findings(&self) -> Vec<(String, String)> {
        self.batches.concat()
    }

    fn take(&mut self, path: &str, body: Bytes) {
        match path {
            "/base/v1/logs" => {
                let request = ExportLogsServiceRequest::decode(body).expect("logs");
                let scopes = request.resource_logs.into_iter().flat_map(|logs| logs.scope_logs);
                let records = scopes.flat_map(|scope| scope.log_records);
                self.batches.push(records.map(|record| named(&record.attributes)).collect());
            }
            "/base/v1/metrics" => {
                self.metrics.push(ExportMetricsServiceRequest::decode(body).expect("metrics"));
            }
            other => panic!("{other}"),
        }
    }
}

fn named(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> (String, String) {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let of = |key: &str| {
        let pair = attributes.iter().find(|pair| pair.key == key).expect(key);
        match pair.value.as_ref().and_then(|value| value.value.clone()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    (of("portolan.finding.id"), of("portolan.finding.state"))
}
