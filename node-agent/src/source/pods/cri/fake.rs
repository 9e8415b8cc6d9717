//! A container runtime for tests: serves CRI over a real unix socket with configured responses, also invalid, slow or none.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, channel::Sender};
use hyper::body::Incoming;
use hyper::http::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::messages::{
    Container, ContainerMetadata, Image, ImageSpec, LinuxStatus, ListResponse, NamespaceOption, Namespaces,
    NetworkStatus, PodSandbox, PodSandboxMetadata, PodSandboxStatus, PodSandboxStatusRequest,
    PodSandboxStatusResponse, VersionResponse,
};

/// Response of a method.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The response of a real runtime.
    Right,
    Message(Vec<u8>),
    /// Raw bytes without a gRPC frame.
    Raw(Vec<u8>),
    Status(u32, &'static str),
    Never,
}

/// Sandboxes, containers and images of the runtime.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub name: String,
    pub version: String,
    pub sandboxes: Vec<PodSandbox>,
    pub containers: Vec<Container>,
    pub images: Vec<Image>,
    /// Responses by the last part of the path; the default is `Right`.
    pub answers: BTreeMap<&'static str, Answer>,
    /// Number of calls of each method.
    pub calls: BTreeMap<String, usize>,
    /// Open event streams.
    streams: Vec<tokio::sync::mpsc::Sender<()>>,
}

/// A running runtime; ends when dropped.
pub struct Fake {
    dir: PathBuf,
    content: Arc<Mutex<Content>>,
    server: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts a runtime that listens and has two pods.
    pub fn start(name: &str) -> Self {
        let mut fake = Self::absent(name);
        fake.listen();
        fake
    }

    /// Makes a runtime with two pods that does not listen yet.
    pub fn absent(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("portolan-fake-cri-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("dir");
        let content = Content {
            name: "containerd".to_owned(),
            version: "1.6.20".to_owned(),
            sandboxes: vec![sandbox("a"), sandbox("b")],
            containers: vec![container("a", "app"), container("b", "app")],
            ..Content::default()
        };
        Self { dir, content: Arc::new(Mutex::new(content)), server: None }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("cri.sock")
    }

    pub fn edit<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.content.lock().expect("not poisoned"))
    }

    pub fn calls(&self, method: &str) -> usize {
        self.edit(|content| content.calls.get(method).copied().unwrap_or(0))
    }

    /// Sends an event to every open stream; returns the number of streams.
    pub fn send_event(&self) -> usize {
        self.edit(|content| content.streams.iter().filter(|stream| stream.try_send(()).is_ok()).count())
    }

    pub fn listen(&mut self) {
        let listener = UnixListener::bind(self.socket()).expect("bind");
        let content = Arc::clone(&self.content);
        self.server = Some(tokio::spawn(async move {
            // Connections end with the listener, since a runtime that stops closes its connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let content = Arc::clone(&content);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(request, Arc::clone(&content)));
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
    }

    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
        self.edit(|content| content.streams.clear());
        let _ = std::fs::remove_file(self.socket());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn sandbox(id: &str) -> PodSandbox {
    let labels =
        [("name", format!("pod-{id}")), ("namespace", "shop".to_owned()), ("uid", format!("uid-{id}"))];
    PodSandbox {
        id: id.to_owned(),
        metadata: Some(PodSandboxMetadata { name: format!("pod-{id}"), ..PodSandboxMetadata::default() }),
        labels: labels.map(|(key, value)| (format!("io.kubernetes.pod.{key}"), value)).into(),
        created_at: 1,
        ..PodSandbox::default()
    }
}

pub fn container(sandbox: &str, name: &str) -> Container {
    let annotations = [("io.kubernetes.container.ports", r#"[{"containerPort":8080}]"#)];
    Container {
        id: format!("{sandbox}-{name}"),
        pod_sandbox_id: sandbox.to_owned(),
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: format!("{}:1", name), ..ImageSpec::default() }),
        state: super::messages::CONTAINER_RUNNING,
        created_at: 1,
        labels: [("io.kubernetes.container.name".to_owned(), name.to_owned())].into(),
        annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..Container::default()
    }
}

/// Returns the netns path of a sandbox.
pub fn netns(id: &str) -> String {
    format!("/run/netns/cni-{id}")
}

async fn answer(
    request: Request<Incoming>,
    content: Arc<Mutex<Content>>,
) -> Result<Response<Channel<Bytes>>, Infallible> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message = body.slice(body.len().min(5)..);
    let answer = {
        let mut content = content.lock().expect("not poisoned");
        *content.calls.entry(method.clone()).or_default() += 1;
        content.answers.get(method.as_str()).cloned().unwrap_or(Answer::Right)
    };
    let (sender, channel) = Channel::new(16);
    tokio::spawn(respond(answer, method, message, content, sender));
    let mut response = Response::new(channel);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

async fn respond(
    answer: Answer,
    method: String,
    message: Bytes,
    content: Arc<Mutex<Content>>,
    mut sender: Sender<Bytes>,
) {
    let (data, code, text) = match answer {
        Answer::Right if method == "GetContainerEvents" => {
            let (stream, mut events) = tokio::sync::mpsc::channel(4);
            content.lock().expect("not poisoned").streams.push(stream);
            while events.recv().await.is_some() {
                if sender.send_data(framed(&[])).await.is_err() {
                    return;
                }
            }
            return;
        }
        Answer::Right => match right(&method, message, &content.lock().expect("not poisoned")) {
            Some(message) => (Some(framed(&message)), 0, ""),
            None => (None, 12, "unknown method"),
        },
        Answer::Message(message) => (Some(framed(&message)), 0, ""),
        Answer::Raw(bytes) => (Some(bytes.into()), 0, ""),
        Answer::Status(code, text) => (None, code, text),
        Answer::Never => std::future::pending().await,
    };
    if let Some(data) = data {
        let _ = sender.send_data(data).await;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers.insert("grpc-message", HeaderValue::from_static(text));
    let _ = sender.send_trailers(trailers).await;
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

fn right(method: &str, message: Bytes, content: &Content) -> Option<Vec<u8>> {
    fn list<T: Message>(items: &[T]) -> Vec<u8> {
        ListResponse { items: items.iter().map(|item| item.encode_to_vec().into()).collect() }.encode_to_vec()
    }
    Some(match method {
        "Version" => {
            VersionResponse { runtime_name: content.name.clone(), runtime_version: content.version.clone() }
                .encode_to_vec()
        }
        "ListPodSandbox" => list(&content.sandboxes),
        "ListContainers" => list(&content.containers),
        "ListImages" => list(&content.images),
        "PodSandboxStatus" => status(&PodSandboxStatusRequest::decode(message).ok()?.pod_sandbox_id),
        _ => return None,
    })
}

fn status(id: &str) -> Vec<u8> {
    let info = format!(
        r#"{{"runtimeSpec":{{"linux":{{"namespaces":[{{"type":"network","path":"{}"}}]}}}}}}"#,
        netns(id)
    );
    PodSandboxStatusResponse {
        status: Some(PodSandboxStatus {
            network: Some(NetworkStatus { ip: "10.1.0.7".to_owned(), additional_ips: Vec::new() }),
            linux: Some(LinuxStatus {
                namespaces: Some(Namespaces { options: Some(NamespaceOption::default()) }),
            }),
        }),
        info: [("info".to_owned(), info)].into(),
    }
    .encode_to_vec()
}
