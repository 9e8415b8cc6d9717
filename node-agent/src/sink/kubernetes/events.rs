//! Which findings an Event is to tell of: those of high and critical severity, each once when it is new, and again at most
//! after an hour where it had ended meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::pod::PodRef;

use super::desk::{Desk, Lookup, Order, Outcome, Times};
use super::event_object::event;
use super::line::Line;
use super::place::Place;
use super::report_object::Author;
use crate::kubernetes_api::backoff::part_of;

/// Events that may wait.
const MAX_WAITING: usize = 256;
/// Findings of which it is remembered that they were told.
const MAX_TOLD: usize = 4096;
/// Seconds that an Event waits for the API server to know its pod, or to take it: news that is older is none.
const MAX_AGE_SECS: u64 = 1800;

/// What an Event tells: a finding that rises to another code is news.
type Key = (String, FindingCode);

#[derive(Debug)]
struct Waiting {
    pod: PodRef,
    place: Option<Place>,
    line: Line,
    since: BootTime,
    due: BootTime,
    /// On its way.
    sent: bool,
    /// It ended while it was on its way.
    ended: bool,
    /// The last try failed.
    has_failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: BootTime,
    /// It ended since.
    ended: bool,
}

/// All Events of this node.
#[derive(Debug)]
pub struct Events {
    times: Times,
    waiting: BTreeMap<Key, Waiting>,
    told: BTreeMap<Key, Told>,
    limited: u64,
}

impl Events {
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self { times, waiting: BTreeMap::new(), told: BTreeMap::new(), limited: 0 }
    }

    /// It is no longer so: what was not told need not be.
    fn ended(&mut self, id: &str, but: Option<FindingCode>) {
        let is_over = |key: &Key| key.0 == id && Some(key.1) != but;
        self.waiting.retain(|key, waiting| {
            waiting.ended |= is_over(key);
            waiting.sent || !waiting.ended
        });
        for code in FindingCode::ALL {
            let key = (id.to_owned(), code);
            if is_over(&key)
                && let Some(told) = self.told.get_mut(&key)
            {
                told.ended = true;
            }
        }
    }

    fn is_news(&self, key: &Key, now: BootTime) -> bool {
        self.told.get(key).is_none_or(|told| told.ended && now.since(told.at) >= self.times.told_for)
    }

    /// Lets one go that is less bad.
    fn make_room(&mut self, severity: Severity) -> bool {
        let less = |waiting: &Waiting| !waiting.sent && waiting.line.severity() < severity;
        let key = self.waiting.iter().find(|(_, waiting)| less(waiting)).map(|(key, _)| key.clone());
        key.is_some_and(|key| self.waiting.remove(&key).is_some())
    }

    fn remember(&mut self, key: Key, ended: bool, now: BootTime) {
        if self.told.len() >= MAX_TOLD {
            let old = self.times.told_for;
            self.told.retain(|_, told| !told.ended || now.since(told.at) < old);
        }
        if self.told.len() >= MAX_TOLD
            && let Some(oldest) = self.told.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| key.clone())
        {
            self.told.remove(&oldest);
        }
        self.told.insert(key, Told { at: now, ended });
    }
}

impl Desk for Events {
    const NEEDS: &'static str = "create on events.events.k8s.io";
    type Key = Key;

    fn note(&mut self, finding: &Finding, now: BootTime, random: u64) {
        if finding.state != FindingState::Open {
            return self.ended(&finding.id, None);
        }
        let Some(pod) = &finding.pod else { return };
        self.ended(&finding.id, Some(finding.code));
        if finding.code.severity() < Severity::High {
            return;
        }
        let line = Line::of(finding);
        let key = (line.id.clone(), line.code);
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.line = line;
            waiting.ended = false;
            return;
        }
        if !self.is_news(&key, now) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.limited += 1;
            if !self.make_room(line.severity()) {
                return;
            }
        }
        let due = now.after(part_of(self.times.gather, random));
        let (pod, place) = (pod.clone(), None);
        let (sent, ended, has_failed) = (false, false, false);
        self.waiting.insert(key, Waiting { pod, place, line, since: now, due, sent, ended, has_failed });
    }

    fn settle(&mut self, at_server: Lookup<'_>, now: BootTime) {
        let mut limited = 0;
        self.waiting.retain(|_, waiting| {
            let was_known = waiting.place.is_some();
            waiting.place = at_server(&waiting.pod.uid).and_then(|(_, uid)| Place::of(&waiting.pod, uid));
            let is_old = now.since(waiting.since).as_secs() >= MAX_AGE_SECS;
            let is_gone = was_known && waiting.place.is_none();
            limited += u64::from(is_old && !waiting.sent);
            waiting.sent || !(is_old || is_gone)
        });
        self.limited += limited;
    }

    fn next_due(&self) -> Option<BootTime> {
        let ready = self.waiting.values().filter(|waiting| waiting.place.is_some() && !waiting.sent);
        ready.map(|waiting| waiting.due).min()
    }

    fn take(&mut self, author: Author<'_>, now: BootTime) -> Option<Order<Key>> {
        let ready = self.waiting.iter_mut().filter(|(_, waiting)| !waiting.sent && waiting.due <= now);
        let (key, waiting, place) = ready
            .filter_map(|(key, waiting)| waiting.place.clone().map(|place| (key, waiting, place)))
            .min_by_key(|(_, waiting, _)| (std::cmp::Reverse(waiting.line.severity()), waiting.due))?;
        waiting.sent = true;
        let write = event(author, &place, &waiting.line, now);
        Some(Order { key: key.clone(), namespace: place.namespace, write })
    }

    fn done(&mut self, key: Key, outcome: Outcome, now: BootTime) {
        let Some(waiting) = self.waiting.get_mut(&key) else { return };
        let ended = waiting.ended;
        match outcome {
            Outcome::Written => {
                self.waiting.remove(&key);
                self.remember(key, ended, now);
            }
            Outcome::Again(_) | Outcome::Refused(_) if ended => drop(self.waiting.remove(&key)),
            Outcome::Again(at) | Outcome::Refused(at) => {
                waiting.sent = false;
                waiting.has_failed = true;
                waiting.due = at;
            }
        }
    }

    fn owed(&self) -> BTreeSet<&str> {
        let failed = self.waiting.values().filter(|waiting| waiting.has_failed);
        failed.filter_map(|waiting| Some(waiting.place.as_ref()?.namespace.as_str())).collect()
    }

    fn limited(&self) -> u64 {
        self.limited
    }
}
