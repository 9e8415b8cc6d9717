//! The wanted report of each pod, and which one is due. This is a state, not a queue: only the last of many changes is
//! written, and a failed write stays due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::identity::{BootTime, PodUid};
use portolan_engine::model::pod::PodRef;

use super::object_ref::ObjectRef;
use super::pending_writes::{PendingWrites, PodLookup, WriteOutcome, WriteRequest, WriteTimings};
use super::pod_report::{PodReport, Written};
use super::report_entry::ReportEntry;
use super::report_object::{Author, report as report_write};
use crate::retry::backoff::random_part;

/// Maximum number of pods with a report.
const MAX_PODS: usize = 1024;
/// Maximum number of findings kept per pod. Findings above it are counted by result.
const MAX_ENTRIES: usize = 256;
/// Maximum number of findings kept of all pods.
const MAX_ALL_ENTRIES: usize = 8192;
/// Maximum number of omitted findings that are requested again at once.
const MAX_WANTED: usize = 64;
/// Seconds after which the report of an unknown pod counts as deleted with its pod.
const PREVIOUS_TIMEOUT_SECS: u64 = 3600;

/// The wanted reports of all pods of this node.
#[derive(Debug)]
pub struct Reports {
    timings: WriteTimings,
    /// Name of this node.
    node: Arc<str>,
    reports: BTreeMap<PodUid, PodReport>,
    /// Pods that have a report by an earlier agent, until these reports are checked.
    previous: Vec<PodUid>,
    /// When the reports of an earlier agent are checked.
    check_previous_at: BootTime,
    /// Number of entries of all reports.
    entries: usize,
    limited: u64,
}

/// A write of a report that is under way.
#[derive(Debug)]
pub struct SentReport {
    pod: PodUid,
    /// UID at the API server of the pod that owns the report.
    owner: PodUid,
    content_hash: u64,
    was_on_server: bool,
}

impl Reports {
    /// Starts without reports.
    #[must_use]
    pub fn new(timings: WriteTimings, node: Arc<str>) -> Self {
        Self {
            timings,
            node,
            reports: BTreeMap::new(),
            previous: Vec::new(),
            check_previous_at: BootTime(0),
            entries: 0,
            limited: 0,
        }
    }

    /// Takes the pods, by their UIDs at the API server, that have a report by an earlier agent. At `check_at` each of them
    /// without findings gets a report without findings.
    pub fn add_previous(&mut self, pods: Vec<PodUid>, check_at: BootTime) {
        self.previous = pods;
        self.previous.truncate(MAX_PODS);
        self.check_previous_at = check_at;
    }

    /// Returns ids of omitted findings that fit now, or are worse than a kept one, the worst first. The caller may note them
    /// again.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        let mut wanted = Vec::new();
        for report in self.reports.values().filter(|report| !report.omitted.is_empty()) {
            let is_full = report.entries.len() >= MAX_ENTRIES || self.entries >= MAX_ALL_ENTRIES;
            let mildest = report.mildest().map(ReportEntry::result).filter(|_| is_full);
            let omitted = report.omitted.iter().filter(|(_, result)| Some(**result) > mildest);
            wanted.extend(omitted.map(|(id, result)| (*result, id)));
        }
        wanted.sort_unstable_by(|one, other| other.cmp(one));
        wanted.into_iter().take(MAX_WANTED).map(|(_, id)| id.clone()).collect()
    }

    /// Returns true if the pod has a report, or the limit allows one more.
    fn may_have(&self, pod: &PodUid) -> bool {
        self.reports.len() < MAX_PODS || self.reports.contains_key(pod)
    }

    fn report(&mut self, pod: &PodRef) -> Option<&mut PodReport> {
        if !self.may_have(&pod.uid) {
            self.limited += 1;
            return None;
        }
        Some(self.reports.entry(pod.uid.clone()).or_insert_with(|| PodReport::new(pod.clone())))
    }

    /// Returns the pod of a finding. A finding can outlive the facts about its pod.
    fn pod_of(&self, finding: &Finding) -> Option<PodUid> {
        match &finding.pod {
            Some(pod) => Some(pod.uid.clone()),
            None => self
                .reports
                .values()
                .find(|report| report.holds(&finding.id))
                .map(|report| report.pod.uid.clone()),
        }
    }

    /// Adds, updates or removes a finding. True if the content changed, false if only counts did. `None` if nothing changed.
    fn update(&mut self, uid: &PodUid, finding: &Finding) -> Option<bool> {
        if finding.state == FindingState::Resolved {
            let report = self.reports.get_mut(uid)?;
            let was_kept = report.entries.remove(&finding.id).is_some();
            self.entries -= usize::from(was_kept);
            return (report.omitted.remove(&finding.id).is_some() || was_kept).then_some(true);
        }
        let entry = ReportEntry::of(finding, &self.node);
        let is_known = self.report(finding.pod.as_ref()?)?.entries.contains_key(&entry.id);
        let fits = is_known || self.make_room(uid, &entry);
        let report = self.reports.get_mut(uid)?;
        if !fits {
            let result = entry.result();
            let before = report.omitted.insert(entry.id, result);
            self.limited += u64::from(before.is_none());
            return (before != Some(result)).then_some(true);
        }
        report.omitted.remove(&entry.id);
        let content_hash = entry.content_hash();
        let before = report.entries.insert(entry.id.clone(), entry);
        self.entries += usize::from(before.is_none());
        Some(before.is_none_or(|before| before.content_hash() != content_hash))
    }

    /// Makes room for one more entry of this pod. When full, evicts a milder entry, or one of the pod with the most entries.
    /// Returns false if nothing can be evicted.
    fn make_room(&mut self, uid: &PodUid, entry: &ReportEntry) -> bool {
        let own = self.reports.get(uid).map_or(0, |report| report.entries.len());
        if own >= MAX_ENTRIES {
            return self.evict_one(uid, own, entry);
        }
        if self.entries < MAX_ALL_ENTRIES {
            return true;
        }
        let fullest = self
            .reports
            .values()
            .max_by_key(|report| report.entries.len())
            .map(|report| report.pod.uid.clone());
        fullest.is_some_and(|fullest| self.evict_one(&fullest, own, entry)) || self.evict_one(uid, own, entry)
    }

    /// Evicts the mildest entry of the donor, if `entry` is worse, or if the donor keeps more entries than the `own` of the
    /// other pod.
    fn evict_one(&mut self, donor: &PodUid, own: usize, entry: &ReportEntry) -> bool {
        let Some(donor) = self.reports.get_mut(donor) else { return false };
        let has_more = donor.entries.len() > own + 1;
        let evicted = donor.mildest().filter(|mildest| has_more || mildest.rank() < entry.rank());
        let Some((id, result)) = evicted.map(|entry| (entry.id.clone(), entry.result())) else {
            return false;
        };
        donor.entries.remove(&id);
        donor.omitted.insert(id, result);
        self.entries -= 1;
        self.limited += 1;
        true
    }

    /// Makes the reports of an earlier agent due, so that a report without current findings is updated. The list of pods may
    /// arrive late, so unknown pods are kept for [`PREVIOUS_TIMEOUT_SECS`].
    fn check_previous(&mut self, at_server: PodLookup<'_>, now: BootTime) {
        if now < self.check_previous_at {
            return;
        }
        let is_late = now.since(self.check_previous_at).as_secs() >= PREVIOUS_TIMEOUT_SECS;
        for uid in std::mem::take(&mut self.previous) {
            match at_server(&uid).filter(|(pod, _)| self.may_have(&pod.uid)) {
                Some((pod, _)) => {
                    let Some(report) = self.report(&pod) else { continue };
                    report.on_server = true;
                    report.due = report.due.or(report.written.is_none().then_some(now));
                }
                None if is_late => {}
                None => self.previous.push(uid),
            }
        }
    }
}

impl PendingWrites for Reports {
    const NEEDS: &'static str = "create and patch on reports.openreports.io";
    type Key = SentReport;

    fn note(&mut self, finding: &Finding, now: BootTime, random: u64) {
        let Some(uid) = self.pod_of(finding) else { return };
        let Some(is_change) = self.update(&uid, finding) else { return };
        let WriteTimings { gather, refresh, .. } = self.timings;
        let Some(report) = self.reports.get_mut(&uid) else { return };
        let soon = now.after(gather).after(random_part(gather, random)).max(report.not_before);
        let due = match report.written {
            Some(written) if !is_change => written.at.after(refresh).max(soon),
            _ => soon,
        };
        report.due = Some(report.due.map_or(due, |before| before.min(due)));
    }

    fn settle(&mut self, at_server: PodLookup<'_>, now: BootTime) {
        self.check_previous(at_server, now);
        let soon = now.after(self.timings.gather);
        self.reports.retain(|uid, report| {
            report.move_to(at_server(uid).and_then(|(_, uid)| ObjectRef::of(&report.pod, uid)), soon);
            !report.is_unneeded()
        });
    }

    fn next_due(&self) -> Option<BootTime> {
        self.reports
            .values()
            .filter(|report| report.object_ref.is_some())
            .filter_map(|report| report.due)
            .min()
    }

    fn take(&mut self, author: Author<'_>, now: BootTime) -> Option<WriteRequest<SentReport>> {
        let WriteTimings { between, refresh, .. } = self.timings;
        loop {
            let due = self.reports.values_mut().filter(|report| report.object_ref.is_some());
            let report = due
                .filter(|report| report.due.is_some_and(|at| at <= now))
                .min_by_key(|report| report.due)?;
            report.due = None;
            report.has_failed = false;
            let content_hash = report.content_hash();
            // A change that was reverted needs no write.
            let is_written = report.written.is_some_and(|written| {
                written.content_hash == content_hash
                    && (now.since(written.at) < refresh || !report.has_findings())
            });
            let Some(object_ref) =
                report.object_ref.as_ref().filter(|_| !is_written && !report.is_unneeded())
            else {
                continue;
            };
            let entries: Vec<&ReportEntry> = report.entries.values().collect();
            let write = report_write(author, object_ref, &entries, report.summary());
            let was_on_server = std::mem::replace(&mut report.on_server, true);
            let key = SentReport {
                pod: report.pod.uid.clone(),
                owner: object_ref.uid.clone(),
                content_hash,
                was_on_server,
            };
            report.not_before = now.after(between);
            return Some(WriteRequest { key, namespace: object_ref.namespace.clone(), write });
        }
    }

    fn done(&mut self, sent: SentReport, outcome: WriteOutcome, now: BootTime) {
        let Some(report) = self.reports.get_mut(&sent.pod) else { return };
        // The pod was created again since the write.
        if report.object_ref.as_ref().is_none_or(|object_ref| object_ref.uid != sent.owner) {
            return;
        }
        let at = match outcome {
            WriteOutcome::Written => {
                report.written = Some(Written { content_hash: sent.content_hash, at: now });
                // Written again from time to time, in case it was deleted.
                let renew = self.timings.renew;
                let again = now.after(renew).after(random_part(renew, sent.content_hash));
                report.due = report.due.into_iter().chain(report.has_findings().then_some(again)).min();
                return;
            }
            WriteOutcome::Retry(at) => at,
            WriteOutcome::Refused(at) => {
                report.on_server = sent.was_on_server;
                at
            }
        };
        report.has_failed = true;
        report.due = Some(at.max(report.not_before));
    }

    fn failed_namespaces(&self) -> BTreeSet<&str> {
        let failed = self.reports.values().filter(|report| report.has_failed);
        failed.filter_map(|report| Some(report.object_ref.as_ref()?.namespace.as_str())).collect()
    }

    fn limited(&self) -> u64 {
        self.limited
    }
}
