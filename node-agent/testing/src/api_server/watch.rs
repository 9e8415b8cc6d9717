//! Watches: what happened since a version, then what happens, with bookmarks; a streamed list begins with what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Sender;
use hyper::Response;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::api_server::body::{Body, Broken, fed, refused, status_object};
use crate::api_server::fault::StreamedLists;
use crate::api_server::list::Form;
use crate::api_server::query::Asked;
use crate::api_server::server::Inner;
use crate::api_server::store::{Change, Store, Version};

/// A watch without a time lasts so long.
const LASTS: Duration = Duration::from_secs(1800);

/// The client is gone.
struct Gone;

type Sent = Result<(), Gone>;

/// The answer to a watch; its events are sent by a task that ends with the client.
pub fn answer(inner: &Arc<Inner>, asked: Asked, form: Form) -> Response<Body> {
    let streams = inner.settings().streamed_lists;
    let streamed = asked.is_set("sendInitialEvents") && streams != StreamedLists::Unknown;
    if streamed && streams == StreamedLists::Refused {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is \
                       forbidden for watch unless the WatchList feature gate is enabled";
        return refused(422, "Invalid", message);
    }
    if streamed && asked.parameter("resourceVersionMatch") != "NotOlderThan" {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires \
                       setting resourceVersionMatch to NotOlderThan";
        return refused(422, "Invalid", message);
    }
    let (sender, response) = fed();
    let watch = Watch { inner: Arc::clone(inner), asked, form, sender };
    tokio::spawn(watch.run(streamed));
    response
}

struct Watch {
    inner: Arc<Inner>,
    asked: Asked,
    form: Form,
    sender: Sender<Bytes, Broken>,
}

impl Watch {
    async fn run(mut self, streamed: bool) {
        // Where the client goes, so do we.
        let _ = self.begin_and_follow(streamed).await;
    }

    async fn begin_and_follow(&mut self, streamed: bool) -> Sent {
        let version = self.asked.parameter("resourceVersion").to_owned();
        let at = if streamed || version.is_empty() || version == "0" {
            let (events, revision) = self.all();
            for event in events {
                self.send(event).await?;
            }
            if streamed {
                self.send(self.bookmark(revision, true)).await?;
            }
            revision
        } else {
            match version.parse() {
                Ok(version) => version,
                Err(_) => return self.fail(400, "BadRequest", "invalid resource version").await,
            }
        };
        self.follow(at).await
    }

    /// Everything that there is, as events.
    fn all(&self) -> (Vec<String>, u64) {
        let store = self.inner.store();
        let mut events = Vec::new();
        let objects: BTreeMap<_, _> = store.objects(self.asked.resource.plural).collect();
        for version in objects.values().filter(|version| self.asked.selects(&version.value)) {
            events.push(event("ADDED", self.form.text(version)));
        }
        (events, store.revision)
    }

    async fn follow(&mut self, mut at: u64) -> Sent {
        let mut news = self.inner.news();
        let settings = self.inner.settings();
        let asked: u64 = self.asked.parameter("timeoutSeconds").parse().unwrap_or(0);
        let lasts = if asked == 0 { LASTS } else { Duration::from_secs(asked) };
        let end = Instant::now() + lasts.min(settings.watches_last.unwrap_or(lasts));
        let mut bookmarks = interval_at(Instant::now() + settings.bookmark_every, settings.bookmark_every);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wants_bookmarks = self.asked.is_set("allowWatchBookmarks");
        loop {
            news.mark_unchanged();
            let Some((changes, revision)) = self.since(at) else {
                let forgotten = self.inner.store().forgotten;
                return self
                    .fail(410, "Expired", &format!("too old resource version: {at} ({forgotten})"))
                    .await;
            };
            for change in &changes {
                if let Some(event) = self.told(change) {
                    self.send(event).await?;
                }
            }
            at = at.max(revision);
            tokio::select! {
                changed = news.changed() => changed.map_err(|_| Gone)?,
                _ = bookmarks.tick(), if wants_bookmarks && at == revision => self.send(self.bookmark(at, false)).await?,
                () = sleep_until(end) => return Ok(()),
            }
        }
    }

    /// What happened, and up to when; nothing for a version from the future. `None`: forgotten.
    fn since(&self, at: u64) -> Option<(Vec<Change>, u64)> {
        let store = self.inner.store();
        if at > store.revision {
            return Some((Vec::new(), 0));
        }
        Some((Store::since(&store, self.asked.resource.plural, at)?, store.revision))
    }

    /// An object that begins or ceases to be selected comes or goes.
    fn told(&self, change: &Change) -> Option<String> {
        let selected = |version: &Option<Arc<Version>>| {
            version.as_ref().is_some_and(|version| self.asked.selects(&version.value))
        };
        let kind = match (selected(&change.before), selected(&change.after)) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(event(kind, self.form.text(&change.told)))
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> String {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let resource = self.asked.resource;
        let object =
            json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        event("BOOKMARK", &object.to_string())
    }

    async fn fail(&mut self, code: u16, reason: &str, message: &str) -> Sent {
        self.send(event("ERROR", &status_object(code, reason, message).to_string())).await
    }

    async fn send(&mut self, text: String) -> Sent {
        self.sender.send_data(Bytes::from(text)).await.map_err(|_| Gone)
    }
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}
