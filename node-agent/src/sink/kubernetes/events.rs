//! Selects the findings that become Events: those of high and critical severity, once when new. All pods of a workload share the
//! Event of a port and code, so that a rollout causes none. A finding becomes another Event if it opens again after at least an
//! hour in which no pod had it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::pod::PodRef;

use super::event_object::event;
use super::object_ref::ObjectRef;
use super::pending_writes::{PendingWrites, PodLookup, WriteOutcome, WriteRequest, WriteTimings};
use super::report_entry::ReportEntry;
use super::report_object::Author;
use crate::retry::backoff::random_part;

/// Maximum number of pending Events.
const MAX_PENDING: usize = 256;
/// Maximum number of sent Events that are remembered.
const MAX_SENT: usize = 4096;
/// Seconds after which a pending Event is dropped, because the API server does not know its pod or does not accept it.
const MAX_AGE_SECS: u64 = 1800;

/// Maximum number of open findings whose ends are noticed. Of more, the Event is not repeated after they ended.
const MAX_OPEN: usize = 16_384;

/// Fingerprint and code of a finding. A finding that changes its code becomes another Event.
type Key = (String, FindingCode);

/// An Event that is not written yet.
#[derive(Debug)]
struct PendingEvent {
    /// The pod that the Event is written about.
    pod: PodRef,
    object_ref: Option<ObjectRef>,
    entry: ReportEntry,
    since: BootTime,
    due: BootTime,
    /// True while a write is under way.
    in_flight: bool,
    /// True if the finding ended during the write.
    ended: bool,
    /// True if the last write failed.
    has_failed: bool,
}

/// An Event that was written.
#[derive(Clone, Copy, Debug)]
struct SentEvent {
    at: BootTime,
    /// Time at which the last finding of this key ended; `None` while one is open.
    ended: Option<BootTime>,
}

/// Pending and sent Events of this node.
#[derive(Debug)]
pub struct Events {
    timings: WriteTimings,
    /// Name of this node.
    node: Arc<str>,
    /// Key of each open finding that is severe enough, by its id.
    open: HashMap<String, Key>,
    /// Number of open findings of each key.
    open_count: HashMap<Key, usize>,
    pending: BTreeMap<Key, PendingEvent>,
    sent: BTreeMap<Key, SentEvent>,
    limited: u64,
}

impl Events {
    /// Starts without Events.
    #[must_use]
    pub fn new(timings: WriteTimings, node: Arc<str>) -> Self {
        Self {
            timings,
            node,
            open: HashMap::new(),
            open_count: HashMap::new(),
            pending: BTreeMap::new(),
            sent: BTreeMap::new(),
            limited: 0,
        }
    }

    /// Notes that a finding is open.
    fn opened(&mut self, id: &str, key: &Key) {
        if self.open.get(id) == Some(key) || self.open.len() >= MAX_OPEN {
            return;
        }
        self.open.insert(id.to_owned(), key.clone());
        *self.open_count.entry(key.clone()).or_default() += 1;
    }

    /// Notes that a finding ended, or changed its code. If it was the last of its key, drops its Event if it is not sent yet.
    fn ended(&mut self, id: &str, now: BootTime) {
        let Some(key) = self.open.remove(id) else { return };
        if let Some(count) = self.open_count.get_mut(&key) {
            *count -= 1;
            if *count > 0 {
                return;
            }
        }
        self.open_count.remove(&key);
        if let Some(pending) = self.pending.get_mut(&key) {
            pending.ended = true;
            if !pending.in_flight {
                self.pending.remove(&key);
            }
        }
        if let Some(sent) = self.sent.get_mut(&key) {
            sent.ended = Some(now);
        }
    }

    /// Returns true if the finding needs an Event: none was sent, or no pod had the finding for long enough.
    fn needs_event(&self, key: &Key, now: BootTime) -> bool {
        let Some(sent) = self.sent.get(key) else { return true };
        sent.ended.is_some_and(|ended| now.since(ended) >= self.timings.event_repeat)
    }

    /// Evicts one pending Event of lower severity. Returns false if there is none.
    fn make_room(&mut self, severity: Severity) -> bool {
        let less = |pending: &PendingEvent| !pending.in_flight && pending.entry.severity() < severity;
        let key = self.pending.iter().find(|(_, pending)| less(pending)).map(|(key, _)| key.clone());
        key.is_some_and(|key| self.pending.remove(&key).is_some())
    }

    /// Remembers a sent Event. When full, evicts the ended ones that are too old to matter, then the oldest.
    fn remember(&mut self, key: Key, ended: Option<BootTime>, now: BootTime) {
        if self.sent.len() >= MAX_SENT {
            let old = self.timings.event_repeat;
            self.sent.retain(|_, sent| sent.ended.is_none_or(|ended| now.since(ended) < old));
        }
        if self.sent.len() >= MAX_SENT
            && let Some(oldest) = self.sent.iter().min_by_key(|(_, sent)| sent.at).map(|(key, _)| key.clone())
        {
            self.sent.remove(&oldest);
        }
        self.sent.insert(key, SentEvent { at: now, ended });
    }
}

impl PendingWrites for Events {
    const NEEDS: &'static str = "create on events.events.k8s.io";
    type Key = Key;

    fn note(&mut self, finding: &Finding, now: BootTime, random: u64) {
        if finding.state != FindingState::Open {
            return self.ended(&finding.id, now);
        }
        let Some(pod) = &finding.pod else { return };
        if finding.code.severity() < Severity::High {
            return self.ended(&finding.id, now);
        }
        let entry = ReportEntry::of(finding, &self.node);
        let key = (entry.fingerprint.clone(), entry.code);
        if self.open.get(&finding.id).is_some_and(|before| *before != key) {
            self.ended(&finding.id, now);
        }
        self.opened(&finding.id, &key);
        if let Some(pending) = self.pending.get_mut(&key) {
            pending.ended = false;
            // The API server may know this pod although it does not know, or no longer knows, the one that was first.
            if pending.pod.uid == pod.uid || (pending.object_ref.is_none() && !pending.in_flight) {
                pending.pod = pod.clone();
                pending.entry = entry;
            }
            return;
        }
        if !self.needs_event(&key, now) {
            if let Some(sent) = self.sent.get_mut(&key) {
                sent.ended = None;
            }
            return;
        }
        if self.pending.len() >= MAX_PENDING {
            self.limited += 1;
            if !self.make_room(entry.severity()) {
                return;
            }
        }
        let due = now.after(random_part(self.timings.gather, random));
        let (pod, object_ref) = (pod.clone(), None);
        let (in_flight, ended, has_failed) = (false, false, false);
        // Only now: an Event that found no room is tried again when the finding is reported next.
        self.sent.remove(&key);
        self.pending.insert(
            key,
            PendingEvent { pod, object_ref, entry, since: now, due, in_flight, ended, has_failed },
        );
    }

    fn settle(&mut self, at_server: PodLookup<'_>, now: BootTime) {
        let mut limited = 0;
        let open_count = &self.open_count;
        self.pending.retain(|key, pending| {
            let was_known = pending.object_ref.is_some();
            pending.object_ref =
                at_server(&pending.pod.uid).and_then(|(_, uid)| ObjectRef::of(&pending.pod, uid));
            let is_old = now.since(pending.since).as_secs() >= MAX_AGE_SECS;
            // While another pod has the finding, the Event waits until that pod is reported.
            let is_gone = was_known && pending.object_ref.is_none() && !open_count.contains_key(key);
            limited += u64::from(is_old && !pending.in_flight);
            pending.in_flight || !(is_old || is_gone)
        });
        self.limited += limited;
    }

    fn next_due(&self) -> Option<BootTime> {
        let ready =
            self.pending.values().filter(|pending| pending.object_ref.is_some() && !pending.in_flight);
        ready.map(|pending| pending.due).min()
    }

    fn take(&mut self, author: Author<'_>, now: BootTime) -> Option<WriteRequest<Key>> {
        let ready = self.pending.iter_mut().filter(|(_, pending)| !pending.in_flight && pending.due <= now);
        let (key, pending, object_ref) = ready
            .filter_map(|(key, pending)| {
                pending.object_ref.clone().map(|object_ref| (key, pending, object_ref))
            })
            .min_by_key(|(_, pending, _)| (std::cmp::Reverse(pending.entry.severity()), pending.due))?;
        pending.in_flight = true;
        let write = event(author, &object_ref, &pending.entry, now);
        Some(WriteRequest { key: key.clone(), namespace: object_ref.namespace, write })
    }

    fn done(&mut self, key: Key, outcome: WriteOutcome, now: BootTime) {
        let Some(pending) = self.pending.get_mut(&key) else { return };
        let ended = pending.ended;
        match outcome {
            WriteOutcome::Written => {
                self.pending.remove(&key);
                self.remember(key, ended.then_some(now), now);
            }
            WriteOutcome::Retry(_) | WriteOutcome::Refused(_) if ended => drop(self.pending.remove(&key)),
            WriteOutcome::Retry(at) | WriteOutcome::Refused(at) => {
                pending.in_flight = false;
                pending.has_failed = true;
                pending.due = at;
            }
        }
    }

    fn failed_namespaces(&self) -> BTreeSet<&str> {
        let failed = self.pending.values().filter(|pending| pending.has_failed);
        failed.filter_map(|pending| Some(pending.object_ref.as_ref()?.namespace.as_str())).collect()
    }

    fn limited(&self) -> u64 {
        self.limited
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
