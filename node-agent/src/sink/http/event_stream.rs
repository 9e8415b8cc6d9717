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
use tokio::time::{Instant, sleep_until};

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
    tokio::spawn(send(state, subscription, sender, (filter, traffic), KEEP_ALIVE));
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::new(body)).into_response())
}

/// Sends events until the client disconnects or the agent ends. After `keep_alive` without an event, also one without news for
/// this client, a comment is sent.
async fn send(
    state: HttpState,
    subscription: Subscription,
    mut to: Sender<Bytes, Infallible>,
    (filter, mut traffic): (Filter, Option<TrafficFollower>),
    keep_alive: Duration,
) {
    let log = &state.watch_log;
    let mut shutdown = state.shutdown.clone();
    let Subscription { mut growth, mut next, reset } = subscription;
    let mut text = "retry: 1000\n\n".to_owned();
    if reset {
        text.push_str("event: reset\ndata: {}\n\n");
    }
    text.push_str(&position(log, next));
    let mut alive_at = Instant::now() + keep_alive;
    loop {
        if !text.is_empty() {
            if to.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() {
                return;
            }
            alive_at = Instant::now() + keep_alive;
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
            () = sleep_until(alive_at) => {
                let _ = write!(text, ": alive\n{}", position(log, next));
            }
            _ = shutdown.wait_for(|down| *down) => return,
        }
        if has_counts {
            match tell(&mut traffic, &mut to).await {
                Ok(0) => {}
                Ok(_) => alive_at = Instant::now() + keep_alive,
                Err(_) => return,
            }
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

/// Sends new counts. They have no id: a client that comes back gets all of them. Returns the number of events.
async fn tell(
    traffic: &mut Option<TrafficFollower>,
    to: &mut Sender<Bytes, Infallible>,
) -> Result<usize, http_body_util::channel::SendError> {
    let events = traffic.as_mut().map(TrafficFollower::events).unwrap_or_default();
    let number = events.len();
    for counts in events {
        let Ok(json) = serde_json::to_string(&counts) else { continue };
        to.send_data(Bytes::from(format!("event: Traffic\ndata: {json}\n\n"))).await?;
    }
    Ok(number)
}

/// Returns an id without data, which ends the text before it. A client resumes after the id, also if its filter matched
/// nothing since; by the specification an id without data is not an event.
fn position(log: &WatchLog, next: u64) -> String {
    next.checked_sub(1).map_or_else(|| "\n".to_owned(), |last| format!("id: {}\n\n", log.id(last)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use tokio::sync::{Semaphore, mpsc, watch};

    use super::super::query::{Query, TrafficSnapshot};
    use super::super::traffic_feed::TrafficFeed;
    use super::*;
    use crate::sink::convert::{Converter, Wall};
    use crate::sink::metrics::Metrics;

    /// Reads of counts after which a comment must have come. It is due after about thirty.
    const MOST_READS: usize = 2000;

    #[tokio::test]
    async fn a_stream_whose_counts_do_not_change_says_that_it_is_alive() {
        let (queries, mut asked) = mpsc::channel(1);
        let (_stop, shutdown) = watch::channel(false);
        let state = HttpState {
            queries,
            watch_log: Arc::new(WatchLog::new(1, 10)),
            metrics: Arc::new(Metrics::new("0", String::new())),
            health: Arc::default(),
            draft_remedies: |_, _| unreachable!("nobody asks"),
            chart_turn: Arc::new(Semaphore::new(1)),
            traffic: Arc::new(TrafficFeed::every(Duration::from_millis(1))),
            shutdown,
        };
        let traffic = Some(state.traffic.follow(&state.queries));
        let subscription = state.watch_log.subscribe(None, 1).expect("room");
        let (sender, mut body) = Channel::<Bytes, Infallible>::new(1);
        let keep_alive = Duration::from_millis(30);
        tokio::spawn(send(state, subscription, sender, (Filter::default(), traffic), keep_alive));
        let mut reads = 0;
        loop {
            tokio::select! {
                query = asked.recv() => {
                    let Some(Query::Traffic(reply)) = query else { panic!("{query:?}") };
                    let wall = Wall { unix_ns_at_boot: 0 };
                    let converter = Converter { agent: "n".into(), wall, now: portolan_engine::model::identity::BootTime(1) };
                    let _ = reply.send(TrafficSnapshot { converter, ports: Vec::new() });
                    reads += 1;
                    assert!(reads < MOST_READS, "no comment after {reads} reads");
                }
                frame = body.frame() => {
                    let data = frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
                    if data.expect("an event").starts_with(b": alive") {
                        return;
                    }
                }
            }
        }
    }
}
