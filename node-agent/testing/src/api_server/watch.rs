//! Watches: sends the changes since a resource version, then later changes and bookmarks. A streamed list begins with all
//! current objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Sender;
use hyper::Response;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::api_server::body::{Body, Broken, refused, status_object, streaming};
use crate::api_server::fault::StreamedLists;
use crate::api_server::form::{Form, NOT_A_LIST};
use crate::api_server::query::ObjectRequest;
use crate::api_server::state::ServerState;
use crate::api_server::store::{Change, Store, Version};

/// Duration of a watch without `timeoutSeconds`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

/// The watch is over: the client closed the connection, or the server ended the watch.
struct Ended;

type Sent = Result<(), Ended>;

/// Answers a watch. A task sends its events, and ends with the connection.
pub fn answer(state: &Arc<ServerState>, target: ObjectRequest, form: Form) -> Response<Body> {
    let streams = state.settings().streamed_lists;
    let streamed = target.is_set("sendInitialEvents") && streams != StreamedLists::Unknown;
    if streamed && streams == StreamedLists::Refused {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is \
                       forbidden for watch unless the WatchList feature gate is enabled";
        return refused(422, "Invalid", message);
    }
    if streamed && target.parameter("resourceVersionMatch") != "NotOlderThan" {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires \
                       setting resourceVersionMatch to NotOlderThan";
        return refused(422, "Invalid", message);
    }
    if streamed && streams == StreamedLists::NoProgress {
        // A server with etcd 3.4 knows the parameter but cannot tell how far its store has come.
        return refused(500, "InternalError", "storage feature RequestWatchProgress is disabled");
    }
    let (sender, response) = streaming();
    let watch = Watch { state: Arc::clone(state), target, form, sender };
    tokio::spawn(watch.run(streamed));
    response
}

struct Watch {
    state: Arc<ServerState>,
    target: ObjectRequest,
    form: Form,
    sender: Sender<Bytes, Broken>,
}

impl Watch {
    async fn run(mut self, streamed: bool) {
        // The only error is that the watch is over.
        let _ = self.begin_and_follow(streamed).await;
    }

    async fn begin_and_follow(&mut self, streamed: bool) -> Sent {
        if self.state.settings().watches_end_at_once {
            return Ok(());
        }
        let version = self.target.parameter("resourceVersion").to_owned();
        let at = if streamed || version.is_empty() || version == "0" {
            let (events, revision) = self.all();
            for event in events {
                self.send_object(event).await?;
            }
            if streamed {
                self.send_object(self.bookmark(revision, true)).await?;
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

    /// Returns all selected objects as events, and their revision.
    fn all(&self) -> (Vec<String>, u64) {
        let store = self.state.store();
        let mut events = Vec::new();
        let objects: BTreeMap<_, _> = store.objects(self.target.resource.plural).collect();
        for version in objects.values().filter(|version| self.target.selects(&version.value)) {
            events.push(event("ADDED", self.form.text(version)));
        }
        (events, store.revision)
    }

    async fn follow(&mut self, mut at: u64) -> Sent {
        let mut revisions = self.state.revisions();
        let settings = self.state.settings();
        let timeout_seconds: u64 = self.target.parameter("timeoutSeconds").parse().unwrap_or(0);
        let timeout =
            if timeout_seconds == 0 { DEFAULT_TIMEOUT } else { Duration::from_secs(timeout_seconds) };
        let end = Instant::now() + timeout.min(settings.watches_last.unwrap_or(timeout));
        let mut bookmarks = interval_at(Instant::now() + settings.bookmark_every, settings.bookmark_every);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wants_bookmarks = self.target.is_set("allowWatchBookmarks");
        loop {
            revisions.mark_unchanged();
            let Some((changes, revision)) = self.since(at) else {
                let forgotten = self.state.store().forgotten;
                return self
                    .fail(410, "Expired", &format!("too old resource version: {at} ({forgotten})"))
                    .await;
            };
            for change in &changes {
                if let Some(event) = self.event_of(change) {
                    self.send_object(event).await?;
                }
            }
            at = at.max(revision);
            tokio::select! {
                changed = revisions.changed() => changed.map_err(|_| Ended)?,
                _ = bookmarks.tick(), if wants_bookmarks && at == revision => self.send_object(self.bookmark(at, false)).await?,
                () = sleep_until(end) => return Ok(()),
            }
        }
    }

    /// Returns the changes after a revision, and the current revision; no changes for a revision in the future. `None` if
    /// the history no longer reaches back that far.
    fn since(&self, at: u64) -> Option<(Vec<Change>, u64)> {
        let store = self.state.store();
        if at > store.revision {
            return Some((Vec::new(), 0));
        }
        Some((Store::since(&store, self.target.resource.plural, at)?, store.revision))
    }

    /// Returns the event of a change: an object that becomes selected is added, one that is no longer selected deleted.
    fn event_of(&self, change: &Change) -> Option<String> {
        let selected = |version: &Option<Arc<Version>>| {
            version.as_ref().is_some_and(|version| self.target.selects(&version.value))
        };
        let kind = match (selected(&change.before), selected(&change.after)) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(event(kind, self.form.text(&change.last)))
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> String {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let resource = self.target.resource;
        let (kind, version) = match self.form {
            Form::Whole => (resource.kind, resource.api_version()),
            Form::Metadata | Form::MetadataList => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
        };
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        event("BOOKMARK", &object.to_string())
    }

    async fn fail(&mut self, code: u16, reason: &str, message: &str) -> Sent {
        self.send(event("ERROR", &status_object(code, reason, message).to_string())).await
    }

    /// Sends the event of an object, or ends the watch with an ERROR event if an object cannot have the requested form.
    async fn send_object(&mut self, event: String) -> Sent {
        if self.form == Form::MetadataList {
            self.fail(406, "NotAcceptable", NOT_A_LIST).await?;
            return Err(Ended);
        }
        self.send(event).await
    }

    async fn send(&mut self, text: String) -> Sent {
        self.sender.send_data(Bytes::from(text)).await.map_err(|_| Ended)
    }
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}
