//! Sends one GET request to an agent over TCP, a unix socket or a port-forward. Every wait and size is bounded.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error::QueryError;
use super::server::Server;

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the head of the answer, and between two pieces of its body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum number of bytes of an answer: a page has at most 1,000 objects of 16 KiB.
const MAX_BODY: usize = 32 << 20;

/// Requests `path` (with its query) and parses the body of the answer.
///
/// # Errors
/// If the agent cannot be reached, answers with another status than 200, or answers with something else.
pub async fn get<T: DeserializeOwned>(server: &Server, path: &str) -> Result<T, QueryError> {
    get_within(server, path, MAX_BODY).await
}

/// As [`get`], with another limit of the body in bytes.
///
/// # Errors
/// As [`get`].
pub async fn get_within<T: DeserializeOwned>(
    server: &Server,
    path: &str,
    max_body: usize,
) -> Result<T, QueryError> {
    get_sized(server, path, max_body).await.map(|(answer, _)| answer)
}

/// As [`get_within`]. Also returns the number of bytes of the body.
///
/// # Errors
/// As [`get`].
pub async fn get_sized<T: DeserializeOwned>(
    server: &Server,
    path: &str,
    max_body: usize,
) -> Result<(T, usize), QueryError> {
    let body = bytes_within(server, path, max_body).await?;
    let answer = serde_json::from_slice(&body).map_err(|error| QueryError::NotUnderstood {
        server: server.to_string(),
        path: path.to_owned(),
        reason: error.to_string(),
    });
    answer.map(|answer| (answer, body.len()))
}

/// Requests `path` (with its query) and returns the body of the answer.
///
/// # Errors
/// If the agent cannot be reached, answers with another status than 200, or the body is incomplete or too long.
pub async fn get_bytes(server: &Server, path: &str) -> Result<Bytes, QueryError> {
    bytes_within(server, path, MAX_BODY).await
}

async fn bytes_within(server: &Server, path: &str, max_body: usize) -> Result<Bytes, QueryError> {
    let mut response = open(server, path, None).await?;
    let mut body = BytesMut::new();
    while let Some(piece) = next_piece(server, path, &mut response, ANSWER_TIMEOUT).await? {
        if body.len() + piece.len() > max_body {
            return Err(broken_off(server, path, format!("it has more than {max_body} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Requests `path` and returns the answer as soon as its head has arrived. `last_event` resumes a stream.
///
/// # Errors
/// If the agent cannot be reached, or answers with another status than 200.
pub async fn open(
    server: &Server,
    path: &str,
    last_event: Option<&str>,
) -> Result<Response<Incoming>, QueryError> {
    let mut response = send(server, path, last_event).await?;
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let status = response.status();
    let piece = next_piece(server, path, &mut response, ANSWER_TIMEOUT).await.ok().flatten();
    Err(QueryError::Refused {
        server: server.to_string(),
        path: path.to_owned(),
        status: status.as_u16(),
        detail: detail(&piece.unwrap_or_default()).unwrap_or_else(|| status.to_string()),
    })
}

/// Returns the next piece of the body; `None` at the end of the body.
///
/// # Errors
/// If the body breaks off, or no piece arrives within `patience`.
pub async fn next_piece(
    server: &Server,
    path: &str,
    response: &mut Response<Incoming>,
    patience: Duration,
) -> Result<Option<Bytes>, QueryError> {
    loop {
        let frame = timeout(patience, response.body_mut().frame())
            .await
            .map_err(|_| broken_off(server, path, format!("nothing came for {} s", patience.as_secs())))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken_off(server, path, error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

async fn send(
    server: &Server,
    path: &str,
    last_event: Option<&str>,
) -> Result<Response<Incoming>, QueryError> {
    let unreachable = |reason: String| QueryError::Unreachable { server: server.to_string(), reason };
    let mut request = Request::get(path).header(HOST, server.host_header()).header(ACCEPT, "*/*");
    if let Some(id) = last_event {
        request = request.header("last-event-id", id);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| unreachable(error.to_string()))?;
    let answer = match server {
        Server::Tcp { host, port } => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream =
                connect(TcpStream::connect((host, *port))).await.map_err(|e| unreachable(reason(&e)))?;
            exchange(stream, request).await
        }
        #[cfg(unix)]
        Server::Unix(path) => {
            let stream = connect(UnixStream::connect(path)).await.map_err(|e| unreachable(reason(&e)))?;
            exchange(stream, request).await
        }
        #[cfg(not(unix))]
        Server::Unix(_) => {
            return Err(unreachable("this system has no unix sockets; use http://HOST:PORT".to_owned()));
        }
        Server::Through(dialer) => {
            let stream = connect(dialer.dial()).await.map_err(|e| unreachable(reason(&e)))?;
            exchange(stream, request).await
        }
    };
    answer.map_err(|reason| broken_off(server, path, reason))
}

async fn connect<S>(connecting: impl Future<Output = io::Result<S>>) -> io::Result<S> {
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Returns the message of the operating system, in lower case and without the error number. A message that a dialer wrote has
/// names in it, and stays as it is.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    if error.get_ref().is_some() {
        return text;
    }
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_lowercase()
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    match timeout(ANSWER_TIMEOUT, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer for {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

fn broken_off(server: &Server, path: &str, reason: String) -> QueryError {
    QueryError::BrokenOff { server: server.to_string(), path: path.to_owned(), reason }
}

/// Returns pointer and detail of an `application/problem+json` body.
fn detail(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    let detail = problem.get("detail")?.as_str()?;
    Some(match problem.get("pointer").and_then(serde_json::Value::as_str) {
        Some(pointer) => format!("{pointer}: {detail}"),
        None => detail.to_owned(),
    })
}
