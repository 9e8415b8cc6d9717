//! A watch from its first line to its end: what each event does, and what the end means.

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;

use super::{Collected, Watcher};
use crate::kubernetes_api::body::BodyLines;
use crate::kubernetes_api::fault::ApiFault;
use crate::kubernetes_api::turns::Turn;
use crate::retry::backoff::{random, random_part};
use crate::retry::reason::one_line;
use crate::source::clock;
use crate::source::kubernetes::kind::{Kind, Told};
use crate::source::kubernetes::object::{Envelope, Status, WatchLine};
use crate::source::kubernetes::place::Target;
use crate::source::pods::SourceState;

/// Marks the end of what a streamed list begins with.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl<K: Kind> Watcher<K> {
    /// Opens a watch from where we stand, one that begins with a list if there was none, and follows it to its end.
    pub(super) async fn follow(&mut self, turn: &mut Option<Turn<'_>>) -> Result<(), ApiFault> {
        let pace = self.link.pace;
        let selector = self.kind.field_selector();
        let target = Target { path: K::PATH, field_selector: selector.as_deref() };
        let lasting = pace.watch_for + random_part(pace.watch_for, random());
        let request = self.place.watch_request(target, lasting);
        let body = self.link.access.get(&request, K::PARTS.accepted(), pace.answer_within).await?;
        let mut initial = (!self.place.is_listed()).then(Collected::<K>::default);
        if initial.is_none() {
            self.doubted = false;
            self.got_through(turn);
        }
        let opened = clock::now();
        let mut heard = false;
        let mut lines = BodyLines::new(body);
        loop {
            let patience = if initial.is_some() { pace.answer_within } else { pace.quiet };
            let line = match lines.next(patience).await {
                Ok(Some(line)) => line,
                ended => return self.ended(ended.map(drop), initial.is_some(), heard, opened),
            };
            heard = true;
            let was_initial = initial.is_some();
            if was_initial && clock::now().since(opened) > pace.answer_within * 2 {
                // Events without end, but no end of a list.
                return Err(ApiFault::Silent);
            }
            self.line(line, &mut initial).await?;
            self.invalid += std::mem::take(&mut lines.skipped);
            self.tell_losses().await?;
            if was_initial && initial.is_none() {
                self.doubted = false;
                self.got_through(turn);
            }
        }
    }

    /// What the end of a watch means.
    fn ended(
        &mut self,
        ended: Result<(), ApiFault>,
        initial: bool,
        heard: bool,
        opened: BootTime,
    ) -> Result<(), ApiFault> {
        if initial {
            // A server that does not know streamed lists takes the request for a plain watch.
            return Err(ended.err().unwrap_or(ApiFault::ShortLived));
        }
        let lived = clock::now().since(opened);
        let short = lived < self.link.pace.short;
        if !heard && lived >= self.link.pace.quiet / 2 && ended != Err(ApiFault::CutShort) {
            // Not even a bookmark: a version from the future gives a silence without end. Ask what there is.
            self.place.lost();
        }
        if self.kept.has_room_again() {
            self.place.lost();
        }
        match ended {
            // Nothing to worry about where no bookmark was ever seen.
            Err(ApiFault::Silent) if !self.bookmarks => {}
            ended => ended?,
        }
        if short { Err(ApiFault::ShortLived) } else { Ok(()) }
    }

    /// Takes one line of a watch. `initial` becomes `None` when the list that it began with is whole.
    async fn line(&mut self, line: &[u8], initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let parsed: Result<WatchLine<'_>, _> = serde_json::from_slice(line);
        let line = parsed.map_err(|error| {
            self.place.lost();
            ApiFault::nonsense("watch event", &error)
        })?;
        match &*line.event {
            "ADDED" | "MODIFIED" => self.came(line.object.get().as_bytes(), initial).await,
            "DELETED" => self.went(line.object.get().as_bytes(), initial).await,
            "BOOKMARK" => self.bookmark(line.object.get(), initial).await,
            "ERROR" => Err(self.refused(line.object.get())),
            // One that this version does not know.
            _ => Ok(()),
        }
    }

    async fn came(&mut self, object: &[u8], initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        let Some((told, version)) = self.object(object) else {
            self.invalid += 1;
            return Ok(());
        };
        match (told, initial) {
            (Some(told), Some(collected)) => self.collect(collected, told),
            (Some(told), None) => {
                let input = self.change(told);
                self.tell(input).await?;
            }
            (None, _) => self.invalid += 1,
        }
        self.moved_to(version);
        Ok(())
    }

    /// What the engine is told of one object.
    fn change(&mut self, Told { key, item }: Told<K::Key, K::Item>) -> Input {
        let Some(item) = item else {
            self.kept.forget(&key);
            return self.kind.gone(key);
        };
        let (item, is_cut) = self.kept.admit(&key, item);
        if is_cut {
            self.cuts.0 += 1;
            self.set_state(SourceState { up: true, reason: self.kept.shortage() });
        }
        match item {
            Some(item) => self.kind.changed(item),
            // What was known of it is no longer true.
            None => self.kind.gone(key),
        }
    }

    async fn went(&mut self, object: &[u8], initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        let Some((Some(told), version)) = self.object(object) else {
            self.invalid += 1;
            return Ok(());
        };
        match initial {
            Some(collected) => collected.remove(&told.key),
            None => {
                let input = self.change(Told { item: None, ..told });
                self.tell(input).await?;
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
            Some(collected) => self.tell_all(collected, metadata.resource_version.0).await,
            None if initial.is_some() => Ok(()),
            None => {
                self.place.moved_to(metadata.resource_version.0);
                Ok(())
            }
        }
    }

    /// An event that tells of a fault.
    fn refused(&mut self, object: &str) -> ApiFault {
        let status: Status = serde_json::from_str(object).unwrap_or_default();
        self.place.lost();
        match status.code.0 {
            Some(410) => ApiFault::Expired,
            code => ApiFault::Refused {
                code: code.unwrap_or(500),
                reason: one_line(&status.message.0.or(status.reason.0).unwrap_or_default()),
                retry_after: None,
            },
        }
    }
}
