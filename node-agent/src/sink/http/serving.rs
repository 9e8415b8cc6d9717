//! Accepts and serves connections within [`Bounds`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::connection_limit::{ConnectionLimit, Slot};
use super::write_timeout::WriteTimeout;
use super::{Bounds, Endpoint};

/// Maximum size of a request's line and headers in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 64;
/// TCP user timeout in milliseconds: a peer that acknowledges nothing for this long is gone. Without it, a dead subscriber
/// keeps its slot for as long as TCP retransmits.
const TCP_USER_TIMEOUT_MS: u32 = 30_000;

/// Serves until `shutdown` becomes true.
pub async fn serve(endpoint: Endpoint, router: Router, bounds: Bounds, mut shutdown: watch::Receiver<bool>) {
    let limit = Arc::new(ConnectionLimit::default());
    let accept_all = async {
        loop {
            if accept(&endpoint, &router, bounds, &limit).await.is_err() {
                // Most likely no descriptor is free. The pause lets other connections close.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    tokio::select! {
        () = accept_all => {}
        _ = shutdown.wait_for(|down| *down) => {}
    }
}

/// Accepts one connection. Drops it if no slot is free.
async fn accept(
    endpoint: &Endpoint,
    router: &Router,
    bounds: Bounds,
    limit: &Arc<ConnectionLimit>,
) -> std::io::Result<()> {
    match endpoint {
        Endpoint::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            // If this fails, a dead peer is only noticed later.
            let _ = set_tcp_user_timeout(&stream, TCP_USER_TIMEOUT_MS);
            if let Some(slot) = limit.admit(Some(from.ip()), &bounds) {
                spawn_connection(stream, router.clone(), bounds, limit, slot);
            }
        }
        Endpoint::Unix(socket) => {
            let (stream, _) = socket.listener.accept().await?;
            if let Some(slot) = limit.admit(None, &bounds) {
                spawn_connection(stream, router.clone(), bounds, limit, slot);
            }
        }
    }
    Ok(())
}

/// Serves a connection in a task that an eviction can abort.
fn spawn_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    bounds: Bounds,
    limit: &ConnectionLimit,
    slot: Slot,
) {
    let number = slot.number();
    let task = tokio::spawn(serve_connection(stream, router, bounds, slot));
    limit.served_by(number, task.abort_handle());
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    bounds: Bounds,
    slot: Slot,
) {
    let io = TokioIo::new(WriteTimeout::new(stream, bounds.stall_timeout, bounds.answer_timeout));
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let active = slot.begin_request();
        let answer = routes.call(request);
        async move {
            let response = answer.await?;
            Ok::<_, std::convert::Infallible>(response.map(|body: Body| {
                body.map_frame(move |frame| {
                    // The body owns the mark and is dropped after its last part was written.
                    let _ = &active;
                    frame
                })
            }))
        }
    });
    // Errors here are caused by the client: a malformed request, a closed or stalled connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.stall_timeout)
        .keep_alive(bounds.keep_alive)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, service)
        .await;
}
