//! `/v1/watch`: reports as server-sent events. Each subscriber reads the watch log at its own pace. A subscriber that lags
//! gets a `lost` event with the number of missed lines; one that resumes too late gets `reset` and must list again.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use portolan_report::filter::Filter;

use super::problem::Problem;
use super::traffic_feed::TrafficFollower;
use super::{HttpState, MAX_CONNECTIONS};
use crate::sink::stream::watch_log::{Subscription, WatchLog};

/// Bytes that are read from the log at once. A subscriber that stops reading holds a few times as many.
const BATCH: usize = 32 * 1024;
/// Time without an event after which a comment is sent, so that dead clients are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Maximum number of subscribers. The other half of the connections stays free for lists.
const MAX_SUBSCRIBERS: usize = MAX_CONNECTIONS / 2;

/// Subscribes a client, and resumes after its Last-Event-ID. With `with_traffic`, it gets the event `Traffic`, too.
pub fn subscribe(
    state: HttpState,
    headers: &HeaderMap,
    filter: Filter,
    with_traffic: bool,
) -> Result<Response, Problem> {
    let last_id = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let subscription = state.watch_log.subscribe(last_id, MAX_SUBSCRIBERS);
    let subscription = subscription.ok_or_else(Problem::too_many_subscribers)?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(1);
    let traffic = with_traffic.then(|| state.traffic.follow(&state.queries));
    tokio::spawn(send(state, subscription, sender, (filter, traffic)));
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::new(body)).into_response())
}

/// Sends events until the client disconnects or the agent ends.
async fn send(
    state: HttpState,
    subscription: Subscription,
    mut to: Sender<Bytes, Infallible>,
    (filter, mut traffic): (Filter, Option<TrafficFollower>),
) {
    let log = &state.watch_log;
    let mut shutdown = state.shutdown.clone();
    let Subscription { mut growth, mut next, reset } = subscription;
    let mut text = "retry: 1000\n\n".to_owned();
    if reset {
        text.push_str("event: reset\ndata: {}\n\n");
    }
    text.push_str(&position(log, next));
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
        let mut has_counts = false;
        tokio::select! {
            grown = growth.changed() => if grown.is_err() { return },
            () = news(&mut traffic) => has_counts = true,
            () = tokio::time::sleep(KEEP_ALIVE) => {
                let _ = write!(text, ": alive\n{}", position(log, next));
            }
            _ = shutdown.wait_for(|down| *down) => return,
        }
        if has_counts && tell(&mut traffic, &mut to).await.is_err() {
            return;
        }
    }
}

/// Waits for new counts; for ever, if the client does not follow them.
async fn news(traffic: &mut Option<TrafficFollower>) {
    match traffic {
        Some(traffic) => traffic.changed().await,
        None => std::future::pending().await,
    }
}

/// Sends new counts. They have no id: a client that comes back gets all of them.
async fn tell(
    traffic: &mut Option<TrafficFollower>,
    to: &mut Sender<Bytes, Infallible>,
) -> Result<(), http_body_util::channel::SendError> {
    for counts in traffic.as_mut().map(TrafficFollower::events).unwrap_or_default() {
        let Ok(json) = serde_json::to_string(&counts) else { continue };
        to.send_data(Bytes::from(format!("event: Traffic\ndata: {json}\n\n"))).await?;
    }
    Ok(())
}

/// Returns an id without data, which ends the text before it. A client resumes after the id, also if its filter matched
/// nothing since; by the specification an id without data is not an event.
fn position(log: &WatchLog, next: u64) -> String {
    next.checked_sub(1).map_or_else(|| "\n".to_owned(), |last| format!("id: {}\n\n", log.id(last)))
}
