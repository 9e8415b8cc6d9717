//! `/v1/watch`: the events as server-sent events, and the counts of rows every two seconds.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::{HeaderMap, Method};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use super::events::{Event, Events};
use super::host::Host;
use super::query::Pairs;
use super::response::{Answer, Problem, stream};

/// Bytes of events that are read at once.
const BATCH: usize = 64 * 1024;
/// Time without an event after which a comment is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time between two events `Traffic`.
const TRAFFIC: Duration = Duration::from_secs(2);
/// Time after which a follower that reads nothing is let go.
const STALLED: Duration = Duration::from_secs(30);
/// Kinds that can be asked for.
const KINDS: [&str; 5] = ["Finding", "AgentStatus", "Loss", "Agent", "Traffic"];

/// What a follower asked for.
struct Wanted(Vec<String>);

impl Wanted {
    /// Returns true for the events of a kind; `lost` is for all.
    fn has(&self, kind: &str) -> bool {
        kind == "lost"
            || self.0.iter().any(|wanted| wanted == kind)
            || (self.0.is_empty() && kind != "Traffic")
    }
}

/// Subscribes a follower.
pub(super) fn subscribe(
    host: &Arc<Host>,
    method: &Method,
    headers: &HeaderMap,
    pairs: &Pairs,
) -> Result<Answer, Problem> {
    let wanted = wanted(pairs)?;
    let slot = Arc::clone(&host.subscribers).try_acquire_owned();
    let slot = slot.map_err(|_| Problem::new(503, "too many followers already; close other tabs"))?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(1);
    if *method == Method::GET {
        let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default().to_owned());
        tokio::spawn(follow(Arc::clone(host), sender, last, wanted, slot));
    }
    Ok(stream(body))
}

fn wanted(pairs: &Pairs) -> Result<Wanted, Problem> {
    let mut kinds = Vec::new();
    for (name, value) in pairs {
        if name != "kind" {
            let detail = "unknown parameter; expected kind: the stream of all nodes has no other filters";
            return Err(Problem::bad_parameter(name, detail));
        }
        for kind in value.split(',') {
            let Some(known) = KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind)) else {
                let detail = format!("{kind:?}: expected one of {}", KINDS.join(", "));
                return Err(Problem::bad_parameter("kind", detail));
            };
            kinds.push((*known).to_owned());
        }
    }
    Ok(Wanted(kinds))
}

/// Sends events until the follower goes, or reads nothing any more.
async fn follow(
    host: Arc<Host>,
    mut to: Sender<Bytes, Infallible>,
    last: Option<String>,
    wanted: Wanted,
    _slot: OwnedSemaphorePermit,
) {
    let mut growth = host.growth();
    let (mut text, mut next) = beginning(&host, last.as_deref());
    let mut traffic = wanted.has("Traffic").then(Traffic::new);
    let mut alive_at = Instant::now() + KEEP_ALIVE;
    loop {
        growth.mark_unchanged();
        next = write_events(&host.shared().events, next, &wanted, &mut text);
        if let Some(traffic) = &mut traffic {
            traffic.write(&host, &mut text);
        }
        if !text.is_empty() {
            alive_at = Instant::now() + KEEP_ALIVE;
            match timeout(STALLED, to.send_data(Bytes::from(std::mem::take(&mut text)))).await {
                Ok(Ok(())) => continue,
                _ => return,
            }
        }
        tokio::select! {
            grown = growth.changed() => if grown.is_err() { return },
            () = sleep_until(traffic.as_ref().map_or(alive_at, |traffic| traffic.due)) => {}
            () = sleep_until(alive_at) => {
                let _ = write!(text, ": alive\n{}", position(&host.shared().events, next));
            }
        }
    }
}

/// Returns the first text, and the number of the first event.
fn beginning(host: &Host, last: Option<&str>) -> (String, u64) {
    let shared = host.shared();
    let resumed = last.map(|id| shared.events.after(id));
    let next = resumed.flatten().unwrap_or_else(|| shared.events.next());
    let mut text = "retry: 1000\n\n".to_owned();
    if resumed == Some(None) {
        text.push_str("event: reset\ndata: {}\n\n");
    }
    text.push_str(&position(&shared.events, next));
    (text, next)
}

/// Appends the events from a number on: some of them, or none if there is none that is wanted. Returns the number to read next.
fn write_events(events: &Events, mut next: u64, wanted: &Wanted, text: &mut String) -> u64 {
    loop {
        let batch = events.read(next, BATCH);
        if batch.missed > 0 {
            let _ = write!(text, "event: lost\ndata: {{\"missed\":{}}}\n\n", batch.missed);
        }
        for Event { number, kind, data } in batch.events.iter().filter(|event| wanted.has(event.kind.name()))
        {
            let (id, json) = (events.id(*number), String::from_utf8_lossy(data));
            let _ = write!(text, "id: {id}\nevent: {}\ndata: {json}\n\n", kind.name());
        }
        next = batch.next;
        // After a batch of other kinds there may be wanted ones, for which nobody would wake the follower.
        if !text.is_empty() || next >= events.next() {
            return next;
        }
    }
}

/// Returns an id without data: where a follower goes on, also if it was sent nothing since.
fn position(events: &Events, next: u64) -> String {
    events.id_before(next).map_or_else(|| "\n".to_owned(), |id| format!("id: {id}\n\n"))
}

/// The counts that a follower has.
struct Traffic {
    /// Version of the counts that were sent; `None` if none were.
    version: Option<u64>,
    /// When the next are sent.
    due: Instant,
}

impl Traffic {
    fn new() -> Self {
        Self { version: None, due: Instant::now() }
    }

    /// Appends what changed, if it is time.
    fn write(&mut self, host: &Host, text: &mut String) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + TRAFFIC;
        let (counts, version) = host.shared().store.counts_since(self.version);
        self.version = Some(version);
        if let Some(json) = counts.and_then(|counts| serde_json::to_string(&counts).ok()) {
            let _ = write!(text, "event: Traffic\ndata: {json}\n\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Kind;
    use super::*;

    #[test]
    fn a_wanted_event_behind_many_others_is_sent_at_once() {
        let mut events = Events::new(1);
        for _ in 0..3 {
            events.push(Kind::Finding, Bytes::from(vec![b'x'; BATCH]));
        }
        events.push(Kind::Agent, Bytes::from_static(b"{}"));
        let mut text = String::new();
        let next = write_events(&events, 0, &Wanted(vec!["Agent".to_owned()]), &mut text);
        assert_eq!((next, text.as_str()), (4, "id: 1-3\nevent: Agent\ndata: {}\n\n"));
    }
}
