//! One watcher: lists a kind of object, follows its changes, and starts over where it must. It holds no objects of its
//! own beyond a list that is under way, and ends only with the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, watch as state};
use tokio::time::sleep;

use super::Link;
use super::backoff::{Backoff, Turn, part_of, random};
use super::body::{Lines, MAX_OBJECT, piece};
use super::fault::{ApiFault, Remedy, bounded};
use super::items::ItemCutter;
use super::kind::{Kind, Told};
use super::object::{Cuts, Envelope, Object, Status, WatchLine};
use super::place::{Place, Target};
use crate::engine::identity::BootTime;
use crate::engine::input::Input;
use crate::source::clock;
use crate::source::pods::SourceState;

/// Marks the end of what a streamed list begins with.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// Pages of one list; a server that has more goes round in circles.
const MAX_PAGES: usize = 10_000;
/// Reason of what was left out of objects.
const CUT: &str = "kubernetes-object-over-limit";
/// Reason of objects that were left out.
const INVALID: &str = "kubernetes-object-invalid";

/// Watches one kind of object.
pub struct Watcher<K: Kind> {
    kind: K,
    link: Arc<Link>,
    inputs: mpsc::Sender<Input>,
    status: state::Sender<SourceState>,
    place: Place,
    backoff: Backoff,
    /// When this watcher last tried at once because another one had got through.
    jumped_at: Option<BootTime>,
    /// Bookmarks come: silence means something.
    bookmarks: bool,
    cuts: Cuts,
    invalid: u64,
}

/// What is being collected before a list is whole.
type Collected<K> = BTreeMap<<K as Kind>::Key, <K as Kind>::Item>;

impl<K: Kind> Watcher<K> {
    pub fn new(
        kind: K,
        link: Arc<Link>,
        inputs: mpsc::Sender<Input>,
        status: state::Sender<SourceState>,
    ) -> Self {
        Self {
            kind,
            backoff: Backoff::new(&link.pace),
            link,
            inputs,
            status,
            place: Place::default(),
            jumped_at: None,
            bookmarks: false,
            cuts: Cuts::default(),
            invalid: 0,
        }
    }

    /// Runs until the engine is gone.
    pub async fn run(self) {
        let inputs = self.inputs.clone();
        tokio::select! {
            () = inputs.closed() => {}
            () = self.watch_for_ever() => {}
        }
    }

    async fn watch_for_ever(mut self) {
        let link = Arc::clone(&self.link);
        sleep(part_of(link.pace.start_within, random())).await;
        let mut turn = None;
        loop {
            let Err(fault) = self.session(&mut turn).await else { continue };
            drop(turn.take());
            if fault == ApiFault::EngineGone {
                return;
            }
            let mark = link.turns.mark();
            self.tell_fault(&fault).await;
            match fault.remedy() {
                Remedy::AskSeldom => {
                    sleep(link.pace.seldom / 2 + part_of(link.pace.seldom / 2, random())).await
                }
                Remedy::TryAgain => sleep(self.backoff.next(random())).await,
                Remedy::TakeTurns => {
                    turn = Some(link.turns.take().await);
                    if link.turns.mark() == mark || fault.asked_delay().is_some() || !self.may_jump() {
                        let wait = self.backoff.next(random());
                        sleep(fault.asked_delay().map_or(wait, |asked| asked + wait)).await;
                    }
                    link.access.renew();
                }
            }
        }
    }

    /// Not twice within the longest wait: two watchers must not call each other forward for ever.
    fn may_jump(&mut self) -> bool {
        let now = clock::now();
        let may = self.jumped_at.is_none_or(|at| now.since(at) >= self.link.pace.most);
        if may {
            self.jumped_at = Some(now);
        }
        may
    }

    /// From where the watcher stands to the next end of a watch. `Ok`: it ended as it should.
    async fn session(&mut self, turn: &mut Option<Turn<'_>>) -> Result<(), ApiFault> {
        if !self.place.is_listed() && !self.link.streams_refused.load(Ordering::Relaxed) {
            match self.follow(turn).await {
                Err(fault) if !self.place.is_listed() && is_refusal_to_stream(&fault) => {
                    tracing::debug!(source = K::SOURCE, %fault, "no streamed lists here");
                    self.link.streams_refused.store(true, Ordering::Relaxed);
                }
                ended => return ended,
            }
        }
        if !self.place.is_listed() {
            let listed = self.list().await;
            if let Err(fault) = &listed {
                self.place.list_failed(fault);
            }
            listed?;
            self.got_through(turn);
        }
        self.follow(turn).await
    }

    /// Lists everything, page by page where there are pages.
    async fn list(&mut self) -> Result<(), ApiFault> {
        let selector = self.kind.field_selector();
        let target = Target { path: K::PATH, field_selector: selector.as_deref() };
        let mut collected = Collected::<K>::new();
        let mut next_page: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let request = self.place.list_request(target, next_page.as_deref());
            let head = self.page(&request, &mut collected).await?;
            let metadata = head.metadata.0.unwrap_or_default();
            next_page = metadata.next_page.0.filter(|next| !next.is_empty());
            if next_page.is_none() {
                return self.tell_all(collected, metadata.resource_version.0).await;
            }
        }
        Err(ApiFault::Nonsense { what: "list", reason: "it has no end".to_owned() })
    }

    /// One page; gives the list without its items.
    async fn page(&mut self, request: &str, collected: &mut Collected<K>) -> Result<Envelope, ApiFault> {
        let within = self.link.pace.answer_within;
        let mut body = self.link.access.get(request, K::PARTS, within).await?;
        let mut cutter = ItemCutter::new(MAX_OBJECT);
        while let Some(piece) = piece(&mut body, within).await? {
            let cut = cutter.push(&piece, |item| match self.object(item) {
                Some((Some(told), _)) => self.collect(collected, told),
                Some((None, _)) | None => self.invalid += 1,
            });
            cut.map_err(|error| ApiFault::nonsense("list", &error))?;
        }
        self.invalid += cutter.skipped;
        serde_json::from_slice(cutter.head()).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => ApiFault::CutShort,
            _ => ApiFault::nonsense("list", &error),
        })
    }

    /// Opens a watch from where we stand, one that begins with a list if there was none, and follows it to its end.
    async fn follow(&mut self, turn: &mut Option<Turn<'_>>) -> Result<(), ApiFault> {
        let pace = self.link.pace;
        let selector = self.kind.field_selector();
        let target = Target { path: K::PATH, field_selector: selector.as_deref() };
        let lasting = pace.watch_for + part_of(pace.watch_for, random());
        let request = self.place.watch_request(target, lasting);
        let body = self.link.access.get(&request, K::PARTS, pace.answer_within).await?;
        let mut initial = (!self.place.is_listed()).then(Collected::<K>::new);
        if initial.is_none() {
            self.got_through(turn);
        }
        let opened = clock::now();
        let mut heard = false;
        let mut lines = Lines::new(body);
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
        let short = clock::now().since(opened) < self.link.pace.short;
        if !heard && !short {
            // A version from the future gives a silence without end: ask what there is.
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
            (Some(Told { item: Some(item), .. }), None) => {
                let input = self.kind.changed(item);
                self.tell(input).await?;
            }
            (Some(Told { key, item: None }), None) => {
                let input = self.kind.gone(key);
                self.tell(input).await?;
            }
            (None, _) => self.invalid += 1,
        }
        self.moved_to(version);
        Ok(())
    }

    async fn went(&mut self, object: &[u8], initial: &mut Option<Collected<K>>) -> Result<(), ApiFault> {
        let Some((Some(told), version)) = self.object(object) else {
            self.invalid += 1;
            return Ok(());
        };
        match initial {
            Some(collected) => drop(collected.remove(&told.key)),
            None => {
                let input = self.kind.gone(told.key);
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
                reason: bounded(&status.message.0.or(status.reason.0).unwrap_or_default()),
                retry_after: None,
            },
        }
    }

    /// Parses an object: what it amounts to, and its version. `None` where it is no object at all.
    fn object(&mut self, text: &[u8]) -> Option<(Option<Told<K::Key, K::Item>>, Option<String>)> {
        let object: Object<K::Spec, K::Status> = serde_json::from_slice(text).ok()?;
        let mut metadata = object.metadata.0?;
        let version = metadata.resource_version.0.take();
        Some((self.kind.read(metadata, object.spec.0, object.status.0, &mut self.cuts), version))
    }

    fn collect(&mut self, collected: &mut Collected<K>, told: Told<K::Key, K::Item>) {
        match told.item {
            Some(_) if collected.len() >= K::MOST => self.cuts.0 += 1,
            Some(item) => drop(collected.insert(told.key, item)),
            None => drop(collected.remove(&told.key)),
        }
    }

    fn moved_to(&mut self, version: Option<String>) {
        if self.place.is_listed() {
            self.place.moved_to(version);
        }
        self.backoff.progress(clock::now());
    }

    async fn tell_all(&mut self, collected: Collected<K>, version: Option<String>) -> Result<(), ApiFault> {
        let input = self.kind.all(collected.into_values().collect());
        self.tell(input).await?;
        self.place.listed_at(version);
        self.backoff.progress(clock::now());
        self.tell_losses().await
    }

    async fn tell(&self, input: Input) -> Result<(), ApiFault> {
        self.inputs.send(input).await.map_err(|_| ApiFault::EngineGone)
    }

    async fn tell_losses(&mut self) -> Result<(), ApiFault> {
        for (reason, count) in
            [(CUT, std::mem::take(&mut self.cuts.0)), (INVALID, std::mem::take(&mut self.invalid))]
        {
            if count > 0 {
                self.tell(Input::Lost { reason, count, recovered: false }).await?;
            }
        }
        Ok(())
    }

    /// The server answers: the next watcher may try, and status says so.
    fn got_through(&self, turn: &mut Option<Turn<'_>>) {
        if let Some(turn) = turn.take() {
            turn.got_through();
        }
        self.set_state(SourceState { up: true, reason: None });
    }

    async fn tell_fault(&mut self, fault: &ApiFault) {
        if fault.remedy() == Remedy::AskSeldom {
            self.place.lost();
            if let Some(input) = self.kind.unavailable() {
                // Where the engine is gone, so is everything else.
                let _ = self.tell(input).await;
            }
        }
        if !fault.is_ordinary() {
            self.set_state(SourceState { up: false, reason: Some(fault.to_string()) });
        }
    }

    fn set_state(&self, new: SourceState) {
        self.status.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }
}

/// The server does not do streamed lists: it refuses the request, or takes it for a plain watch that has no end mark.
fn is_refusal_to_stream(fault: &ApiFault) -> bool {
    match fault {
        ApiFault::Refused { code, .. } => matches!(code, 400 | 406 | 415 | 422 | 501),
        ApiFault::Silent | ApiFault::ShortLived => true,
        _ => false,
    }
}
