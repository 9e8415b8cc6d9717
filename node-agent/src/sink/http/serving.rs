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

use super::guests::{Guests, Seat};
use super::stall::StallGuard;
use super::{Bounds, Endpoint};

/// Bytes of a request's line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// A peer that acknowledges nothing for so long is gone, in milliseconds: a follower of which nothing is heard would
/// keep its place for as long as TCP tries again.
const GONE_AFTER_MS: u32 = 30_000;

/// Serves until `shutdown` becomes true.
pub async fn serve(endpoint: Endpoint, router: Router, bounds: Bounds, mut shutdown: watch::Receiver<bool>) {
    let guests = Arc::new(Guests::default());
    let accept_all = async {
        loop {
            if accept(&endpoint, &router, bounds, &guests).await.is_err() {
                // Out of descriptors, most likely: give others time to close some.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    tokio::select! {
        () = accept_all => {}
        _ = shutdown.wait_for(|down| *down) => {}
    }
}

async fn accept(
    endpoint: &Endpoint,
    router: &Router,
    bounds: Bounds,
    guests: &Arc<Guests>,
) -> std::io::Result<()> {
    match endpoint {
        Endpoint::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            // Without it, a dead peer is noticed later.
            let _ = set_tcp_user_timeout(&stream, GONE_AFTER_MS);
            if let Some(seat) = guests.admit(Some(from.ip()), &bounds) {
                seat_down(stream, router.clone(), bounds, guests, seat);
            }
        }
        Endpoint::Unix(socket) => {
            let (stream, _) = socket.listener.accept().await?;
            if let Some(seat) = guests.admit(None, &bounds) {
                seat_down(stream, router.clone(), bounds, guests, seat);
            }
        }
    }
    Ok(())
}

fn seat_down(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    bounds: Bounds,
    guests: &Guests,
    seat: Seat,
) {
    let number = seat.number();
    let task = tokio::spawn(converse(stream, router, bounds, seat));
    guests.served_by(number, task.abort_handle());
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    bounds: Bounds,
    seat: Seat,
) {
    let io = TokioIo::new(StallGuard::new(stream, bounds.patience, bounds.answer));
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let answering = seat.answering();
        let answer = routes.call(request);
        async move {
            let response = answer.await?;
            Ok::<_, std::convert::Infallible>(response.map(|body: Body| {
                body.map_frame(move |frame| {
                    // It goes with the body, whose last part is written then.
                    let _ = &answering;
                    frame
                })
            }))
        }
    });
    // An error here is the client's: a broken request, a closed or stalled connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.patience)
        .keep_alive(bounds.keep_alive)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, service)
        .await;
}
