//! The page's HTTP server on loopback. Connections, headers and waits are bounded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION, SET_COOKIE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::access::Verdict;
use super::host::Host;
use super::response::{Answer, Problem, whole};
use super::routes;
use crate::write_timeout::WriteTimeout;

/// Maximum number of connections. A browser opens six.
const MAX_CONNECTIONS: usize = 64;
/// Maximum size of a request's line and headers in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 64;
/// Time after which a client that sends no headers is disconnected.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a client that reads nothing of its answer is disconnected.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which a client may read one answer, after which it is disconnected.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, host: Arc<Host>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely no descriptor is free. The pause lets other connections close.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // One more than there may be is closed: the browser tries again.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let host = Arc::clone(&host);
        connections.spawn(async move {
            serve_connection(stream, host).await;
            drop(slot);
        });
    }
}

async fn serve_connection(stream: TcpStream, host: Arc<Host>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let host = Arc::clone(&host);
        async move { Ok::<_, Infallible>(answer(request, &host).await) }
    });
    let stream = WriteTimeout::new(stream, STALL_TIMEOUT, ANSWER_TIMEOUT);
    // Errors here are the client's: a malformed request, or a closed connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, host: &Arc<Host>) -> Answer {
    match host.access.decide(request.method(), request.uri(), request.headers()) {
        Verdict::Admitted => {
            let answer = routes::answer(&request, host).await;
            answer.unwrap_or_else(|problem| problem.answer())
        }
        Verdict::Entered { cookie, location } => entered(cookie.as_deref(), &location),
        // A browser shows it as it is.
        Verdict::Refused(status, detail) => refused(status, detail, request.uri().path()),
    }
}

/// Sends a browser on to the page, without the key in its address.
fn entered(cookie: Option<&str>, location: &str) -> Answer {
    let mut answer = whole(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    let headers = [(LOCATION, Some(location)), (SET_COOKIE, cookie)];
    for (name, value) in headers {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn refused(status: u16, detail: &str, path: &str) -> Answer {
    if path.starts_with("/v1/") {
        return Problem::new(status, detail).answer();
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    whole(status, "text/plain; charset=utf-8", format!("{detail}\n"))
}
