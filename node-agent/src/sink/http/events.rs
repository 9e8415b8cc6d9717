//! `/v1/watch`: the stream as server-sent events. Each follower reads the log at its own pace; one that lags gets a
//! `lost` event with the number, one that resumes too late a `reset`: read the lists anew.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use portolan_report::filter::Filter;
use tokio::sync::watch;

use super::problem::Problem;
use super::{HttpState, MAX_CONNECTIONS};
use crate::sink::stream::watch_log::WatchLog;

/// Bytes that are read from the log at once; a follower that stands still holds a few times as many.
const BATCH: usize = 32 * 1024;
/// A comment is sent after this long without an event, so that dead clients are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Followers at once: the other half of the connections stays free for lists.
const MAX_FOLLOWERS: usize = MAX_CONNECTIONS / 2;

/// Starts a follower.
pub fn follow(state: HttpState, headers: &HeaderMap, filter: Filter) -> Result<Response, Problem> {
    if state.watch_log.followers() >= MAX_FOLLOWERS {
        return Err(Problem::too_many_followers());
    }
    let growth = state.watch_log.growth();
    let asked = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let resumed = asked.map(|id| state.watch_log.resume(id));
    let reset = matches!(resumed, Some(None));
    let from = resumed.flatten().unwrap_or_else(|| state.watch_log.end());
    let (sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(send(state, growth, sender, filter, from, reset));
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::new(body)).into_response())
}

async fn send(
    state: HttpState,
    mut growth: watch::Receiver<u64>,
    mut to: Sender<Bytes, Infallible>,
    filter: Filter,
    from: u64,
    reset: bool,
) {
    let log = &state.watch_log;
    let mut shutdown = state.shutdown.clone();
    let mut next = from;
    let mut text = "retry: 1000\n\n".to_owned();
    if reset {
        text.push_str("event: reset\ndata: {}\n\n");
    }
    text.push_str(&reached(log, next));
    loop {
        if !text.is_empty() && to.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() {
            return;
        }
        growth.mark_unchanged();
        let batch = log.read(next, BATCH, &filter);
        let advanced = batch.next != next;
        next = batch.next;
        if batch.missed > 0 {
            let _ = write!(text, "event: lost\ndata: {{\"missed\":{}}}\n\n", batch.missed);
        }
        for line in &batch.lines {
            let json = String::from_utf8_lossy(&line.json);
            let _ = write!(text, "id: {}\nevent: {}\ndata: {json}\n\n", log.id(line.number), line.kind);
        }
        if advanced {
            continue;
        }
        tokio::select! {
            grown = growth.changed() => if grown.is_err() { return },
            () = tokio::time::sleep(KEEP_ALIVE) => {
                let _ = write!(text, ": alive\n{}", reached(log, next));
            }
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}

/// Tells a follower how far it is, also where its filter let nothing through: an id without data is no event, but what
/// a client goes on from. Ends what stands before it.
fn reached(log: &WatchLog, next: u64) -> String {
    next.checked_sub(1).map_or_else(|| "\n".to_owned(), |last| format!("id: {}\n\n", log.id(last)))
}
