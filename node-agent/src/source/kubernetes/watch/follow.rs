//! Follows one watch from its first line to its end: handles each event, and decides how to continue after the end.

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;

use super::{Collected, Received, Watcher};
use crate::kubernetes_api::body::BodyLines;
use crate::kubernetes_api::fault::ApiFault;
use crate::kubernetes_api::turns::Turn;
use crate::retry::backoff::{random, random_part};
use crate::source::clock;
use crate::source::kubernetes::error_event;
use crate::source::kubernetes::kind::Kind;
use crate::source::kubernetes::protocol::{Envelope, WatchLine};
use crate::source::kubernetes::watch_position::Resource;

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
        let mut received = match self.object(object) {
            Ok(received) => received,
            Err(fault) => {
                self.nameless(&fault);
                return Ok(());
            }
        };
        let version = received.version.take();
        match initial {
            Some(collected) => self.collect(collected, received),
            None => {
                if let Some(input) = self.change(received) {
                    self.send(input).await?;
                }
                self.watch_works();
            }
        }
        self.moved_to(version);
        Ok(())
    }

    /// Makes the engine's input for one changed object; `None` if its last version stays.
    fn change(&mut self, Received { key, content, .. }: Received<K>) -> Option<Input> {
        let item = match content {
            Ok(item) => {
                if self.faulty.remove(&key) {
                    self.report_up();
                }
                item
            }
            Err(fault) => {
                if !self.faulty.has(&key, &fault) {
                    self.report_faulty(&fault, self.faulty.is_full());
                    self.faulty.add(key.clone(), fault);
                    self.report_up();
                }
                Some(K::unreadable(&key)?)
            }
        };
        Some(self.input_of(key, item))
    }

    fn input_of(&mut self, key: K::Key, item: Option<K::Item>) -> Input {
        let Some(item) = item else {
            self.budget.forget(&key);
            return self.kind.gone(key);
        };
        let (item, is_cut) = self.budget.admit(&key, item);
        if is_cut {
            self.cuts.0 += 1;
            self.report_up();
        }
        match item {
            Some(item) => self.kind.changed(item),
            // The previous version is no longer true.
            None => self.kind.gone(key),
        }
    }

    /// Handles a deletion, for which an object needs no more than its identity.
    async fn deleted(&mut self, object: &[u8], initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        let (key, metadata) = match self.identity(object) {
            Ok(identity) => identity,
            Err(fault) => {
                self.nameless(&fault);
                return Ok(());
            }
        };
        match initial {
            Some(collected) => collected.remove(&key),
            None => {
                if self.faulty.remove(&key) {
                    self.report_up();
                }
                let input = self.input_of(key, None);
                self.send(input).await?;
                self.watch_works();
            }
        }
        self.moved_to(metadata.resource_version);
        Ok(())
    }

    async fn bookmark(&mut self, object: &str, initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        let envelope: Envelope = serde_json::from_str(object).unwrap_or_default();
        let metadata = envelope.metadata.0;
        let is_end = metadata.annotation(INITIAL_EVENTS_END) == Some("true");
        self.bookmarks |= initial.is_none();
        match initial.take_if(|_| is_end) {
            Some(collected) => self.send_list(collected, metadata.resource_version).await,
            None if initial.is_some() => Ok(()),
            None => {
                self.position.moved_to(metadata.resource_version);
                self.watch_works();
                Ok(())
            }
        }
    }
}
