//! Client of a container runtime: gRPC over HTTP/2 over a unix socket. Every call has a time limit and every response a size
//! limit. Responses are returned as bytes, errors as [`CriError`].

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status, Streaming};
use tower_service::Service;

/// Time limit of one call.
pub const LIMIT: Duration = Duration::from_secs(2);
/// Maximum size of a response, in bytes; kubelet has the same limit.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Maximum length of a message from the runtime, in characters.
const MAX_MESSAGE: usize = 200;

/// A method of CRI that the agent calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Version,
    ListPodSandbox,
    PodSandboxStatus,
    ListContainers,
    ListImages,
    GetContainerEvents,
}

impl Call {
    /// Returns the name of the method in CRI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "Version",
            Self::ListPodSandbox => "ListPodSandbox",
            Self::PodSandboxStatus => "PodSandboxStatus",
            Self::ListContainers => "ListContainers",
            Self::ListImages => "ListImages",
            Self::GetContainerEvents => "GetContainerEvents",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Version => "/runtime.v1.RuntimeService/Version",
            Self::ListPodSandbox => "/runtime.v1.RuntimeService/ListPodSandbox",
            Self::PodSandboxStatus => "/runtime.v1.RuntimeService/PodSandboxStatus",
            Self::ListContainers => "/runtime.v1.RuntimeService/ListContainers",
            Self::ListImages => "/runtime.v1.ImageService/ListImages",
            Self::GetContainerEvents => "/runtime.v1.RuntimeService/GetContainerEvents",
        }
    }
}

/// Why a call to a runtime failed; the message is one line.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    #[error("no container runtime: none of {} is there", super::socket::DEFAULTS.join(", "))]
    NoSocket,
    #[error("cannot connect to {}: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("cannot speak HTTP/2 with {}: {source}", socket.display())]
    Protocol { socket: PathBuf, source: hyper::Error },
    #[error("{} does not speak CRI v1: is the runtime's cri plugin disabled?", socket.display())]
    NoCri { socket: PathBuf },
    #[error("{call}: no answer within {} s", LIMIT.as_secs())]
    Slow { call: &'static str },
    #[error("{call}: the runtime does not have it")]
    Unimplemented { call: &'static str },
    #[error("{call}: not found")]
    NotFound { call: &'static str },
    #[error("{call}: {code:?}: {message}")]
    Refused { call: &'static str, code: Code, message: String },
    #[error("{call}: the answer cannot be read: {source}")]
    Unreadable { call: &'static str, source: prost::DecodeError },
}

impl CriError {
    fn of(call: &'static str, status: &Status) -> Self {
        match status.code() {
            Code::Unimplemented => Self::Unimplemented { call },
            Code::NotFound => Self::NotFound { call },
            code => {
                let message =
                    status.message().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
                Self::Refused { call, code, message }
            }
        }
    }
}

/// A connection to a runtime; clones share the connection.
#[derive(Clone)]
pub struct Runtime {
    grpc: Grpc<Connection>,
}

impl Runtime {
    /// Connects to the socket.
    ///
    /// # Errors
    /// When nothing listens there, the connection takes too long, or the peer does not speak HTTP/2.
    pub async fn connect(socket: &Path) -> Result<Self, CriError> {
        let unreachable = |source| CriError::Unreachable { socket: socket.to_owned(), source };
        let stream = timeout(LIMIT, UnixStream::connect(socket))
            .await
            .map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?
            .map_err(unreachable)?;
        let (sender, connection) = timeout(LIMIT, handshake(TokioExecutor::new(), TokioIo::new(stream)))
            .await
            .map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?
            .map_err(|source| CriError::Protocol { socket: socket.to_owned(), source })?;
        // The task ends with the last clone of the sender; the calls return its errors.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let grpc = Grpc::with_origin(Connection(sender), Uri::from_static("http://localhost"))
            .max_decoding_message_size(MAX_ANSWER);
        Ok(Self { grpc })
    }

    /// Calls a method and returns the response as bytes.
    ///
    /// # Errors
    /// When the runtime does not respond in time, or responds with an error.
    pub async fn ask(&self, call: Call, request: &impl Message) -> Result<Bytes, CriError> {
        self.exchange(call.name(), call.path(), request, LIMIT).await
    }

    /// Calls a method and decodes the response.
    ///
    /// # Errors
    /// When the runtime does not respond in time, responds with an error, or the response cannot be decoded.
    pub async fn ask_for<A: Message + Default>(
        &self,
        call: Call,
        request: &impl Message,
    ) -> Result<A, CriError> {
        let answer = self.ask(call, request).await?;
        A::decode(answer).map_err(|source| CriError::Unreadable { call: call.name(), source })
    }

    /// Calls any method of any service: `path` is `/PACKAGE.SERVICE/METHOD`.
    ///
    /// # Errors
    /// When the runtime does not respond within `limit`, or responds with an error.
    pub async fn exchange(
        &self,
        name: &'static str,
        path: &'static str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<Bytes, CriError> {
        let mut grpc = self.grpc.clone();
        let request = tonic::Request::new(Bytes::from(request.encode_to_vec()));
        let answer = async {
            let closed = |error: hyper::Error| Status::unavailable(error.to_string());
            grpc.ready().await.map_err(closed)?;
            grpc.unary(request, PathAndQuery::from_static(path), AsBytes).await
        };
        match timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(CriError::of(name, &status)),
            Err(_) => Err(CriError::Slow { call: name }),
        }
    }

    /// Opens the stream of container events. The call has no time limit: a runtime that supports events may not send response
    /// headers before the first event.
    ///
    /// # Errors
    /// When the runtime refuses the call.
    pub async fn events(&self) -> Result<Streaming<Bytes>, CriError> {
        let call = Call::GetContainerEvents;
        let mut grpc = self.grpc.clone();
        let closed = |error: hyper::Error| Status::unavailable(error.to_string());
        let streaming = async {
            grpc.ready().await.map_err(closed)?;
            let request = tonic::Request::new(Bytes::new());
            grpc.server_streaming(request, PathAndQuery::from_static(call.path()), AsBytes).await
        };
        match streaming.await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(CriError::of(call.name(), &status)),
        }
    }
}

#[derive(Clone)]
struct Connection(SendRequest<Body>);

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Codec that leaves messages as bytes. The caller decodes them, so that an invalid item does not affect the others.
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
