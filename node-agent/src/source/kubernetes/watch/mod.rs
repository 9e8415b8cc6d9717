//! Watcher of one kind of object: lists the objects, follows their changes, and lists again where it must. A watcher holds no
//! objects beyond a list in progress, and ends only with the engine.

mod follow;
mod memory_budget;
mod watch_record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;
use portolan_engine::read::plain_text::escape;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::memory_budget::MemoryBudget;
use self::watch_record::WatchRecord;
use super::Link;
use super::items::ItemCutter;
use super::kind::Kind;
use super::objects::fault::{Fault, parse};
use super::objects::faulty::{FaultyObjects, INVALID, OVER_LIMIT};
use super::objects::fields::{Cuts, Fields};
use super::objects::metadata::Metadata;
use super::objects::object::Object;
use super::protocol::Envelope;
use super::watch_position::{Resource, WatchPosition};
use crate::kubernetes_api::body::{MAX_OBJECT, next_chunk};
use crate::kubernetes_api::fault::{ApiFault, Remedy};
use crate::kubernetes_api::turns::Turn;
use crate::retry::backoff::{Backoff, random, random_part};
use crate::source::clock;
use crate::state::{Reporter, State};

/// Maximum number of pages of one list; a server that sends more repeats itself.
const MAX_PAGES: usize = 10_000;

/// Watches one kind of object.
pub struct Watcher<K: Kind> {
    kind: K,
    link: Arc<Link>,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
    position: WatchPosition,
    /// Memory of the objects that the engine knows.
    budget: MemoryBudget<K>,
    backoff: Backoff,
    /// When this watcher last retried without a wait because another watcher had reached the server.
    jumped_at: Option<BootTime>,
    /// The server sends bookmarks, so a watch without any event is broken.
    bookmarks: bool,
    /// The engine has a complete list.
    has_list: bool,
    /// Refused once since the last success. A single refusal may come from an authorizer that is starting.
    doubted: bool,
    /// How the watches behind the list end.
    watches: WatchRecord,
    cuts: Cuts,
    invalid: u64,
    faulty: FaultyObjects<K::Key>,
}

/// The objects of a list in progress.
struct Collected<K: Kind> {
    items: BTreeMap<K::Key, K::Item>,
    budget: MemoryBudget<K>,
    faulty: FaultyObjects<K::Key>,
}

impl<K: Kind> Default for Collected<K> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), budget: MemoryBudget::default(), faulty: FaultyObjects::default() }
    }
}

impl<K: Kind> Collected<K> {
    fn remove(&mut self, key: &K::Key) {
        self.budget.forget(key);
        self.items.remove(key);
        self.faulty.remove(key);
    }
}

/// An object that the server sent.
struct Received<K: Kind> {
    key: K::Key,
    version: Option<String>,
    /// The engine's form; `None` for an object without meaning for the engine. An error names the object.
    content: Result<Option<K::Item>, String>,
}

impl<K: Kind> Watcher<K> {
    pub fn new(kind: K, link: Arc<Link>, inputs: mpsc::Sender<Input>, reporter: Reporter) -> Self {
        Self {
            kind,
            backoff: link.pace.backoff(),
            link,
            inputs,
            reporter,
            position: WatchPosition::default(),
            budget: MemoryBudget::default(),
            jumped_at: None,
            bookmarks: false,
            has_list: false,
            doubted: false,
            watches: WatchRecord::default(),
            cuts: Cuts::default(),
            invalid: 0,
            faulty: FaultyObjects::default(),
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
            self.watches.ended(&fault);
            let mark = link.turns.mark();
            let remedy = self.remedy(&fault);
            self.report_fault(&fault, remedy).await;
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

    /// Returns how to continue after a fault. A kind that was served before and is refused once is requested once more before
    /// it counts as unavailable.
    fn remedy(&mut self, fault: &ApiFault) -> Remedy {
        match fault.remedy() {
            Remedy::AskSeldom if self.has_list && !self.doubted => {
                self.doubted = true;
                Remedy::AskOnce
            }
            remedy => remedy,
        }
    }

    /// True if this watcher may retry without a wait; false within the longest wait after the last such retry, since two
    /// watchers could otherwise trigger each other for ever.
    fn may_jump(&mut self) -> bool {
        let now = clock::now();
        let may = self.jumped_at.is_none_or(|at| now.since(at) >= self.link.pace.most);
        if may {
            self.jumped_at = Some(now);
        }
        may
    }

    /// Lists if necessary and follows one watch to its end. `Ok`: the watch ended regularly.
    async fn session(&mut self, turn: &mut Option<Turn<'_>>) -> Result<(), ApiFault> {
        let mut stream_refused = false;
        if !self.position.is_listed() && !self.link.streams_refused.load(Ordering::Relaxed) {
            match self.follow(turn).await {
                Err(fault) if !self.position.is_listed() && may_be_refusal_to_stream(&fault) => {
                    tracing::debug!(source = K::SOURCE.label(), %fault, "no streamed list; listing");
                    self.watches.dismissed();
                    stream_refused = true;
                }
                ended => {
                    // The version may be newer than the server's, whose store was restored from a backup.
                    if let Err(fault @ ApiFault::Refused { code: 504, .. }) = &ended
                        && !self.position.is_listed()
                    {
                        self.position.list_failed(fault);
                    }
                    return ended;
                }
            }
        }
        if !self.position.is_listed() {
            let listed = self.list().await;
            if let Err(fault) = &listed {
                self.position.list_failed(fault);
            }
            listed?;
            if stream_refused {
                // The kind itself is served, so what the server refused was the stream.
                self.link.streams_refused.store(true, Ordering::Relaxed);
            }
            self.got_through(turn);
        }
        self.follow(turn).await
    }

    /// Lists all objects, page by page if the server sends pages.
    async fn list(&mut self) -> Result<(), ApiFault> {
        let selector = self.kind.field_selector();
        let resource = Resource { path: K::PATH, field_selector: selector.as_deref() };
        let mut collected = Collected::<K>::default();
        let mut next_page: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let request = self.position.list_request(resource, next_page.as_deref());
            let head = self.page(&request, &mut collected).await?;
            let Fields(metadata) = head.metadata;
            next_page = metadata.next_page.filter(|next| !next.is_empty());
            if next_page.is_none() {
                return self.send_list(collected, metadata.resource_version).await;
            }
        }
        Err(ApiFault::Nonsense { what: "list", reason: "it has no end".to_owned() })
    }

    /// Reads one page into `collected`; returns the list without its items.
    async fn page(&mut self, request: &str, collected: &mut Collected<K>) -> Result<Envelope, ApiFault> {
        let within = self.link.pace.answer_within;
        let mut body = self.link.access.get(request, K::PARTS.accepted_list(), within).await?;
        let mut cutter = ItemCutter::new(MAX_OBJECT);
        while let Some(chunk) = next_chunk(&mut body, within).await? {
            let cut = cutter.push(&chunk, |item| match self.object(item) {
                Ok(received) => self.collect(collected, received),
                Err(fault) => self.nameless(&fault),
            });
            cut.map_err(|error| ApiFault::nonsense("list", &error))?;
        }
        self.invalid += cutter.skipped;
        serde_json::from_slice(cutter.head()).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => ApiFault::CutShort,
            _ => ApiFault::nonsense("list", &error),
        })
    }

    /// Parses an object.
    ///
    /// # Errors
    /// If not even its identity can be understood.
    fn object(&mut self, text: &[u8]) -> Result<Received<K>, Fault> {
        let json = || serde_json::Deserializer::from_slice(text);
        let fault = match parse::<Object<K::Spec, K::Status>, _>(&mut json()) {
            Ok(Object { metadata: Fields(mut metadata), spec, status }) => {
                let version = metadata.resource_version.take();
                let key = self.kind.key(&metadata)?;
                match self.kind.read(metadata, spec, status, &mut self.cuts) {
                    Ok(item) => return Ok(Received { key, version, content: Ok(item) }),
                    Err(fault) => fault,
                }
            }
            Err(fault) => fault,
        };
        let (key, metadata) = self.identity(text)?;
        let content = Err(format!("{}: {}", named::<K>(&metadata), escape(&fault.to_string())));
        Ok(Received { key, version: metadata.resource_version, content })
    }

    /// Parses the metadata of an object alone.
    fn identity(&self, text: &[u8]) -> Result<(K::Key, Metadata), Fault> {
        let json = &mut serde_json::Deserializer::from_slice(text);
        let object: Object<IgnoredAny, IgnoredAny> = parse(json)?;
        Ok((self.kind.key(&object.metadata.0)?, object.metadata.0))
    }

    /// Counts an object that has no identity.
    fn nameless(&mut self, fault: &Fault) {
        self.invalid += 1;
        tracing::warn!("a {} of the API server cannot be understood, and is left out: {fault}", K::NAME);
    }

    fn collect(&mut self, collected: &mut Collected<K>, Received { key, content, .. }: Received<K>) {
        let item = match content {
            Ok(item) => {
                collected.faulty.remove(&key);
                item
            }
            Err(fault) => {
                if !self.faulty.has(&key, &fault) {
                    self.report_faulty(&fault, collected.faulty.is_full());
                }
                collected.faulty.add(key.clone(), fault);
                K::unreadable(&key)
            }
        };
        let Some(item) = item else {
            collected.budget.forget(&key);
            collected.items.remove(&key);
            return;
        };
        let (item, is_cut) = collected.budget.admit(&key, item);
        self.cuts.0 += u64::from(is_cut);
        match item {
            Some(item) => drop(collected.items.insert(key, item)),
            None => drop(collected.items.remove(&key)),
        }
    }

    /// Counts and logs an object that cannot be understood. `is_quiet`: so many are known that this one is only counted,
    /// because whoever may create objects must not be able to fill the log.
    fn report_faulty(&mut self, fault: &str, is_quiet: bool) {
        self.invalid += 1;
        if !is_quiet {
            tracing::warn!("an object of the API server cannot be understood, and does not count: {fault}");
        }
    }

    fn moved_to(&mut self, version: Option<String>) {
        if self.position.is_listed() {
            self.position.moved_to(version);
        }
    }

    /// Records that a watch works: it delivered an event behind the list, or has lasted. Only this resets the back-off of
    /// watches that ended at once.
    fn watch_works(&mut self) {
        self.backoff.progress(clock::now());
        if self.watches.works() {
            self.report_up();
        }
    }

    async fn send_list(&mut self, collected: Collected<K>, version: Option<String>) -> Result<(), ApiFault> {
        let input = self.kind.all(collected.items.into_values().collect());
        self.send(input).await?;
        self.budget = collected.budget;
        self.faulty = collected.faulty;
        self.has_list = true;
        self.position.listed_at(version);
        if !self.watches.keep_ending() {
            self.backoff.progress(clock::now());
        }
        self.send_losses().await
    }

    async fn send(&self, input: Input) -> Result<(), ApiFault> {
        self.inputs.send(input).await.map_err(|_| ApiFault::EngineGone)
    }

    async fn send_losses(&mut self) -> Result<(), ApiFault> {
        for (reason, count) in
            [(OVER_LIMIT, std::mem::take(&mut self.cuts.0)), (INVALID, std::mem::take(&mut self.invalid))]
        {
            if count > 0 {
                self.send(Input::Lost { reason, count, recovered: false }).await?;
            }
        }
        Ok(())
    }

    /// Records that the server answers: lets the next watcher try, and reports this source as up, unless its watches have
    /// been ending at once. Then it is up only when one works.
    fn got_through(&self, turn: &mut Option<Turn<'_>>) {
        if let Some(turn) = turn.take() {
            turn.got_through();
        }
        if !self.watches.keep_ending() {
            self.report_up();
        }
    }

    /// Reports this source as up, with what is amiss.
    fn report_up(&self) {
        let amiss: Vec<String> =
            [self.faulty.summary(), self.budget.shortage()].into_iter().flatten().collect();
        self.reporter.report(State::up_with((!amiss.is_empty()).then(|| amiss.join("; "))));
    }

    async fn report_fault(&mut self, fault: &ApiFault, remedy: Remedy) {
        if remedy == Remedy::AskSeldom {
            self.position.lost();
            self.has_list = false;
            if let Some(input) = self.kind.unavailable() {
                // The send fails only once the engine is gone.
                let _ = self.send(input).await;
            }
        }
        if !fault.is_ordinary() || self.watches.keep_ending() {
            self.reporter.report(State::Down { reason: fault.to_string() });
        }
    }
}

/// Names an object in messages.
fn named<K: Kind>(metadata: &Metadata) -> String {
    let name = metadata.name.as_deref().unwrap_or_default();
    let named = match metadata.namespace.as_deref() {
        Some(namespace) => format!("{} {namespace}/{name}", K::NAME),
        None => format!("{} {name}", K::NAME),
    };
    escape(&named)
}

/// True if the server may not support streamed lists: it refuses the request or the stream before the list's end, or treats it
/// as a plain watch without a mark at the list's end. A server with etcd 3.4 answers 500. A plain list tells whether the kind
/// is refused too.
fn may_be_refusal_to_stream(fault: &ApiFault) -> bool {
    match fault {
        ApiFault::Refused { code, .. } => !matches!(code, 401 | 403 | 410 | 429 | 502..=504),
        ApiFault::Silent | ApiFault::ShortLived => true,
        _ => false,
    }
}
