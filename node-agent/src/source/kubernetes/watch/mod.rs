//! One watcher: lists a kind of object, follows its changes, and starts over where it must. It holds no objects of its
//! own beyond a list that is under way, and ends only with the engine.

mod follow;
mod kept;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;
use tokio::sync::{mpsc, watch as state};
use tokio::time::sleep;

use self::kept::Kept;
use super::Link;
use super::items::ItemCutter;
use super::kind::{Kind, Told};
use super::object::{Cuts, Envelope, Object};
use super::place::{Place, Target};
use crate::kubernetes_api::body::{MAX_OBJECT, next_chunk};
use crate::kubernetes_api::fault::{ApiFault, Remedy};
use crate::kubernetes_api::turns::Turn;
use crate::retry::backoff::{Backoff, random, random_part};
use crate::source::clock;
use crate::source::pods::SourceState;

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
    /// What the engine was told.
    kept: Kept<K>,
    backoff: Backoff,
    /// When this watcher last tried at once because another one had got through.
    jumped_at: Option<BootTime>,
    /// Bookmarks come: silence means something.
    bookmarks: bool,
    /// The engine has a list.
    told: bool,
    /// Forbidden since it was last served: one such answer may be an authorizer that is starting.
    doubted: bool,
    cuts: Cuts,
    invalid: u64,
}

/// What is being collected before a list is whole.
struct Collected<K: Kind> {
    items: BTreeMap<K::Key, K::Item>,
    kept: Kept<K>,
}

impl<K: Kind> Default for Collected<K> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), kept: Kept::default() }
    }
}

impl<K: Kind> Collected<K> {
    fn remove(&mut self, key: &K::Key) {
        self.kept.forget(key);
        self.items.remove(key);
    }
}

/// What an object amounts to; `None` for one without an identity.
type ToldOf<K> = Option<Told<<K as Kind>::Key, <K as Kind>::Item>>;

impl<K: Kind> Watcher<K> {
    pub fn new(
        kind: K,
        link: Arc<Link>,
        inputs: mpsc::Sender<Input>,
        status: state::Sender<SourceState>,
    ) -> Self {
        Self {
            kind,
            backoff: link.pace.backoff(),
            link,
            inputs,
            status,
            place: Place::default(),
            kept: Kept::default(),
            jumped_at: None,
            bookmarks: false,
            told: false,
            doubted: false,
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
        sleep(random_part(link.pace.start_within, random())).await;
        let mut turn = None;
        loop {
            let Err(fault) = self.session(&mut turn).await else { continue };
            drop(turn.take());
            if fault == ApiFault::EngineGone {
                return;
            }
            let mark = link.turns.mark();
            let remedy = self.remedy(&fault);
            self.tell_fault(&fault, remedy).await;
            match remedy {
                Remedy::AskOnce => {
                    sleep(link.pace.most / 2 + random_part(link.pace.most / 2, random())).await
                }
                Remedy::AskSeldom => {
                    sleep(link.pace.seldom / 2 + random_part(link.pace.seldom / 2, random())).await
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

    /// What was served before and is refused once is asked for once more before it is taken for unknown.
    fn remedy(&mut self, fault: &ApiFault) -> Remedy {
        match fault.remedy() {
            Remedy::AskSeldom if self.told && !self.doubted => {
                self.doubted = true;
                Remedy::AskOnce
            }
            remedy => remedy,
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
        let mut collected = Collected::<K>::default();
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
        let mut body = self.link.access.get(request, K::PARTS.accepted(), within).await?;
        let mut cutter = ItemCutter::new(MAX_OBJECT);
        while let Some(chunk) = next_chunk(&mut body, within).await? {
            let cut = cutter.push(&chunk, |item| match self.object(item) {
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

    /// Parses an object: what it amounts to, and its version. `None` where it is no object at all.
    fn object(&mut self, text: &[u8]) -> Option<(ToldOf<K>, Option<String>)> {
        let object: Object<K::Spec, K::Status> = serde_json::from_slice(text).ok()?;
        let mut metadata = object.metadata.0?;
        let version = metadata.resource_version.0.take();
        Some((self.kind.read(metadata, object.spec.0, object.status.0, &mut self.cuts), version))
    }

    fn collect(&mut self, collected: &mut Collected<K>, told: Told<K::Key, K::Item>) {
        let Told { key, item } = told;
        let Some(item) = item else { return collected.remove(&key) };
        let (item, is_cut) = collected.kept.admit(&key, item);
        self.cuts.0 += u64::from(is_cut);
        match item {
            Some(item) => drop(collected.items.insert(key, item)),
            None => drop(collected.items.remove(&key)),
        }
    }

    fn moved_to(&mut self, version: Option<String>) {
        if self.place.is_listed() {
            self.place.moved_to(version);
        }
        self.backoff.progress(clock::now());
    }

    async fn tell_all(&mut self, collected: Collected<K>, version: Option<String>) -> Result<(), ApiFault> {
        let input = self.kind.all(collected.items.into_values().collect());
        self.tell(input).await?;
        self.kept = collected.kept;
        self.told = true;
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
        self.set_state(SourceState { up: true, reason: self.kept.shortage() });
    }

    async fn tell_fault(&mut self, fault: &ApiFault, remedy: Remedy) {
        if remedy == Remedy::AskSeldom {
            self.place.lost();
            self.told = false;
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
        new.tell(&self.status);
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
