//! Follows one watch from its first line to its end: handles each event, and decides how to continue after the end.

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;

use super::{Collected, Watcher};
use crate::kubernetes_api::body::BodyLines;
use crate::kubernetes_api::fault::ApiFault;
use crate::kubernetes_api::turns::Turn;
use crate::retry::backoff::{random, random_part};
use crate::source::clock;
use crate::source::kubernetes::error_event;
use crate::source::kubernetes::kind::{Kind, Parsed};
use crate::source::kubernetes::object::{Envelope, WatchLine};
use crate::source::kubernetes::watch_position::Resource;
use crate::state::State;

/// Annotation of the bookmark that ends the initial list of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl<K: Kind> Watcher<K> {
    /// Opens a watch from the watcher's position and follows it to its end. Without a list so far, the watch begins with one.
    pub(super) async fn follow(&mut self, turn: &mut Option<Turn<'_>>) -> Result<(), ApiFault> {
        let pace = self.link.pace;
        let selector = self.kind.field_selector();
        let resource = Resource { path: K::PATH, field_selector: selector.as_deref() };
        let lasting = pace.watch_for + random_part(pace.watch_for, random());
        let request = self.position.watch_request(resource, lasting);
        let body = self.link.access.get(&request, K::PARTS.accepted_watch(), pace.answer_within).await?;
        self.watches.opened();
        let mut initial = (!self.position.is_listed()).then(Collected::<K>::default);
        if initial.is_none() {
            self.doubted = false;
            self.got_through(turn);
        }
        let opened = clock::now();
        let mut heard = false;
        let mut lines = BodyLines::new(body);
        loop {
            let patience = match initial {
                Some(_) => pace.answer_within,
                None if self.watches.is_unproven() => pace.short.min(pace.quiet),
                None => pace.quiet,
            };
            let line = match lines.next(patience).await {
                Ok(Some(line)) => line,
                Err(ApiFault::Silent) if initial.is_none() && self.watches.is_unproven() => {
                    // Still open after a while: nothing has changed.
                    self.watch_works();
                    continue;
                }
                ended => return self.ended(ended.map(drop), initial.is_some(), heard, opened),
            };
            heard = true;
            let was_initial = initial.is_some();
            if was_initial && clock::now().since(opened) > pace.answer_within * 2 {
                // The server sends events but never ends the list.
                return Err(ApiFault::Silent);
            }
            self.line(line, &mut initial).await?;
            self.invalid += std::mem::take(&mut lines.skipped);
            self.send_losses().await?;
            if was_initial && initial.is_none() {
                self.doubted = false;
                self.watches.opened();
                self.got_through(turn);
            }
        }
    }

    /// Decides how to continue after the end of a watch.
    fn ended(
        &mut self,
        ended: Result<(), ApiFault>,
        initial: bool,
        heard: bool,
        opened: BootTime,
    ) -> Result<(), ApiFault> {
        if initial {
            // A server without streamed lists treats the request as a plain watch.
            return Err(ended.err().unwrap_or(ApiFault::ShortLived));
        }
        let lived = clock::now().since(opened);
        let short = lived < self.link.pace.short;
        if !heard && lived >= self.link.pace.quiet / 2 && ended != Err(ApiFault::CutShort) {
            // Without even a bookmark, the version may be newer than the server's: such a watch stays silent. List again.
            self.position.lost();
        }
        if self.budget.has_room_again() {
            self.position.lost();
        }
        match ended {
            // Silence is no fault on a server that sends no bookmarks.
            Err(ApiFault::Silent) if !self.bookmarks => {}
            ended => ended?,
        }
        if short { Err(ApiFault::ShortLived) } else { Ok(()) }
    }

    /// Handles one line of a watch. `initial` becomes `None` when the initial list is complete.
    async fn line(&mut self, line: &[u8], initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let parsed: Result<WatchLine<'_>, _> = serde_json::from_slice(line);
        let line = parsed.map_err(|error| {
            self.position.lost();
            ApiFault::nonsense("watch event", &error)
        })?;
        match &*line.event {
            "ADDED" | "MODIFIED" => self.added_or_modified(line.object.get().as_bytes(), initial).await,
            "DELETED" => self.deleted(line.object.get().as_bytes(), initial).await,
            "BOOKMARK" => self.bookmark(line.object.get(), initial).await,
            "ERROR" => {
                self.position.lost();
                Err(error_event::fault(line.object.get()))
            }
            // An event type that this version does not know.
            _ => Ok(()),
        }
    }

    async fn added_or_modified(
        &mut self,
        object: &[u8],
        initial: &mut Option<Collected<K>>,
    ) -> Result<(), ApiFault> {
        let Some((parsed, version)) = self.object(object) else {
            self.invalid += 1;
            return Ok(());
        };
        match (parsed, initial) {
            (Some(parsed), Some(collected)) => self.collect(collected, parsed),
            (Some(parsed), None) => {
                let input = self.change(parsed);
                self.send(input).await?;
                self.watch_works();
            }
            (None, _) => self.invalid += 1,
        }
        self.moved_to(version);
        Ok(())
    }

    /// Makes the engine's input for one changed object.
    fn change(&mut self, Parsed { key, item }: Parsed<K::Key, K::Item>) -> Input {
        let Some(item) = item else {
            self.budget.forget(&key);
            return self.kind.gone(key);
        };
        let (item, is_cut) = self.budget.admit(&key, item);
        if is_cut {
            self.cuts.0 += 1;
            self.reporter.report(State::up_with(self.budget.shortage()));
        }
        match item {
            Some(item) => self.kind.changed(item),
            // The previous version is no longer true.
            None => self.kind.gone(key),
        }
    }

    async fn deleted(&mut self, object: &[u8], initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        let Some((Some(parsed), version)) = self.object(object) else {
            self.invalid += 1;
            return Ok(());
        };
        match initial {
            Some(collected) => collected.remove(&parsed.key),
            None => {
                let input = self.change(Parsed { item: None, ..parsed });
                self.send(input).await?;
                self.watch_works();
            }
        }
        self.moved_to(version);
        Ok(())
    }

    async fn bookmark(&mut self, object: &str, initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        let envelope: Envelope = serde_json::from_str(object).unwrap_or_default();
        let metadata = envelope.metadata.0.unwrap_or_default();
        let is_end = metadata.annotation(INITIAL_EVENTS_END) == Some("true");
        self.bookmarks |= initial.is_none();
        match initial.take_if(|_| is_end) {
            Some(collected) => self.send_list(collected, metadata.resource_version.0).await,
            None if initial.is_some() => Ok(()),
            None => {
                self.position.moved_to(metadata.resource_version.0);
                self.watch_works();
                Ok(())
            }
        }
    }
}
