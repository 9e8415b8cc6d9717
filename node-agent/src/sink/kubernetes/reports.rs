//! What each pod's report ought to say, and which is due. A state, not a queue: of many changes only the last is written, and
//! what could not be written stays due.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::identity::{BootTime, PodUid};
use portolan_engine::model::pod::PodRef;

use super::desk::{Desk, Lookup, Order, Outcome, Times};
use super::line::Line;
use super::page::{Page, Written};
use super::place::Place;
use super::report_object::{Author, report};
use crate::kubernetes_api::backoff::part_of;

/// Pods that are kept.
const MAX_PODS: usize = 1024;
/// Findings of one pod that are kept; what is above is counted by its result.
const MAX_LINES: usize = 256;
/// Findings of all pods that are kept.
const MAX_ALL_LINES: usize = 8192;
/// Findings that are asked for at once where there is room again.
const MAX_WANTED: usize = 64;
/// Seconds after which a report of a pod that nobody knows has gone with it.
const LEFT_FOR_SECS: u64 = 3600;

/// All reports of this node.
#[derive(Debug)]
pub struct Reports {
    times: Times,
    pages: BTreeMap<PodUid, Page>,
    /// Pods of which an agent before us has left a report, until they are looked at.
    left: Vec<PodUid>,
    look_at: BootTime,
    /// Findings that are kept, over all pods.
    lines: usize,
    limited: u64,
}

/// A report on its way.
#[derive(Debug)]
pub struct Sent {
    pod: PodUid,
    /// Of the pod that owns it.
    owner: PodUid,
    shape: u64,
    was_on_server: bool,
}

impl Reports {
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self { times, pages: BTreeMap::new(), left: Vec::new(), look_at: BootTime(0), lines: 0, limited: 0 }
    }

    /// Pods, by their UIDs at the API server, of which it has a report from before we started. Those that have no findings
    /// then are told so.
    pub fn left_behind(&mut self, pods: Vec<PodUid>, look_at: BootTime) {
        self.left = pods;
        self.left.truncate(MAX_PODS);
        self.look_at = look_at;
    }

    /// Findings that were left out and have room now, or are worse than others that have, the worst first. Whoever knows
    /// them may note them again.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        let mut wanted = Vec::new();
        for page in self.pages.values().filter(|page| !page.omitted.is_empty()) {
            let is_full = page.lines.len() >= MAX_LINES || self.lines >= MAX_ALL_LINES;
            let mildest = page.mildest().map(Line::result).filter(|_| is_full);
            let left_out = page.omitted.iter().filter(|(_, result)| Some(**result) > mildest);
            wanted.extend(left_out.map(|(id, result)| (*result, id)));
        }
        wanted.sort_unstable_by(|one, other| other.cmp(one));
        wanted.into_iter().take(MAX_WANTED).map(|(_, id)| id.clone()).collect()
    }

    fn may_have(&self, pod: &PodUid) -> bool {
        self.pages.len() < MAX_PODS || self.pages.contains_key(pod)
    }

    fn page(&mut self, pod: &PodRef) -> Option<&mut Page> {
        if !self.may_have(&pod.uid) {
            self.limited += 1;
            return None;
        }
        Some(self.pages.entry(pod.uid.clone()).or_insert_with(|| Page::new(pod.clone())))
    }

    /// A finding may outlive what is known of its pod.
    fn pod_of(&self, finding: &Finding) -> Option<PodUid> {
        match &finding.pod {
            Some(pod) => Some(pod.uid.clone()),
            None => self.pages.values().find(|page| page.holds(&finding.id)).map(|page| page.pod.uid.clone()),
        }
    }

    /// Puts a finding in, or takes it out. True if that is news, false if only amounts differ; `None`: nothing changed.
    fn fold(&mut self, uid: &PodUid, finding: &Finding) -> Option<bool> {
        if finding.state == FindingState::Resolved {
            let page = self.pages.get_mut(uid)?;
            let was_kept = page.lines.remove(&finding.id).is_some();
            self.lines -= usize::from(was_kept);
            return (page.omitted.remove(&finding.id).is_some() || was_kept).then_some(true);
        }
        let line = Line::of(finding);
        let is_known = self.page(finding.pod.as_ref()?)?.lines.contains_key(&line.id);
        let fits = is_known || self.make_room(uid, &line);
        let page = self.pages.get_mut(uid)?;
        if !fits {
            let result = line.result();
            let before = page.omitted.insert(line.id, result);
            self.limited += u64::from(before.is_none());
            return (before != Some(result)).then_some(true);
        }
        page.omitted.remove(&line.id);
        let shape = line.shape();
        let before = page.lines.insert(line.id.clone(), line);
        self.lines += usize::from(before.is_none());
        Some(before.is_none_or(|before| before.shape() != shape))
    }

    /// Room for one more line of this pod: where there is none a milder one goes, or one of the pod that has the most.
    /// False: there is none.
    fn make_room(&mut self, uid: &PodUid, line: &Line) -> bool {
        let own = self.pages.get(uid).map_or(0, |page| page.lines.len());
        if own >= MAX_LINES {
            return self.let_one_go(uid, own, line);
        }
        if self.lines < MAX_ALL_LINES {
            return true;
        }
        let fullest =
            self.pages.values().max_by_key(|page| page.lines.len()).map(|page| page.pod.uid.clone());
        fullest.is_some_and(|fullest| self.let_one_go(&fullest, own, line)) || self.let_one_go(uid, own, line)
    }

    /// Lets the mildest line of a pod go for another, which is worse or of a pod that has `own` and still fewer then.
    fn let_one_go(&mut self, giver: &PodUid, own: usize, line: &Line) -> bool {
        let Some(giver) = self.pages.get_mut(giver) else { return false };
        let has_more = giver.lines.len() > own + 1;
        let goes = giver.mildest().filter(|mildest| has_more || mildest.rank() < line.rank());
        let Some((id, result)) = goes.map(|line| (line.id.clone(), line.result())) else { return false };
        giver.lines.remove(&id);
        giver.omitted.insert(id, result);
        self.lines -= 1;
        self.limited += 1;
        true
    }

    /// What an agent before us has told of pods that have no findings now is mended. The list of pods may come late.
    fn look_at_what_is_left(&mut self, at_server: Lookup<'_>, now: BootTime) {
        if now < self.look_at {
            return;
        }
        let is_late = now.since(self.look_at).as_secs() >= LEFT_FOR_SECS;
        for uid in std::mem::take(&mut self.left) {
            match at_server(&uid).filter(|(pod, _)| self.may_have(&pod.uid)) {
                Some((pod, _)) => {
                    let Some(page) = self.page(&pod) else { continue };
                    page.on_server = true;
                    page.due = page.due.or(page.written.is_none().then_some(now));
                }
                None if is_late => {}
                None => self.left.push(uid),
            }
        }
    }
}

impl Desk for Reports {
    const NEEDS: &'static str = "create and patch on reports.openreports.io";
    type Key = Sent;

    fn note(&mut self, finding: &Finding, now: BootTime, random: u64) {
        let Some(uid) = self.pod_of(finding) else { return };
        let Some(is_news) = self.fold(&uid, finding) else { return };
        let Times { gather, refresh, .. } = self.times;
        let Some(page) = self.pages.get_mut(&uid) else { return };
        let soon = now.after(gather).after(part_of(gather, random)).max(page.not_before);
        let due = match page.written {
            Some(written) if !is_news => written.at.after(refresh).max(soon),
            _ => soon,
        };
        page.due = Some(page.due.map_or(due, |before| before.min(due)));
    }

    fn settle(&mut self, at_server: Lookup<'_>, now: BootTime) {
        self.look_at_what_is_left(at_server, now);
        let soon = now.after(self.times.gather);
        self.pages.retain(|uid, page| {
            page.move_to(at_server(uid).and_then(|(_, uid)| Place::of(&page.pod, uid)), soon);
            !page.is_nothing()
        });
    }

    fn next_due(&self) -> Option<BootTime> {
        self.pages.values().filter(|page| page.place.is_some()).filter_map(|page| page.due).min()
    }

    fn take(&mut self, author: Author<'_>, now: BootTime) -> Option<Order<Sent>> {
        let Times { between, refresh, .. } = self.times;
        loop {
            let due = self.pages.values_mut().filter(|page| page.place.is_some());
            let page = due.filter(|page| page.due.is_some_and(|at| at <= now)).min_by_key(|page| page.due)?;
            page.due = None;
            page.has_failed = false;
            let shape = page.shape();
            // It changed and changed back.
            let is_written = page.written.is_some_and(|written| {
                written.shape == shape && (now.since(written.at) < refresh || !page.has_findings())
            });
            let Some(place) = page.place.as_ref().filter(|_| !is_written && !page.is_nothing()) else {
                continue;
            };
            let lines: Vec<&Line> = page.lines.values().collect();
            let write = report(author, place, &lines, page.summary());
            let was_on_server = std::mem::replace(&mut page.on_server, true);
            let key = Sent { pod: page.pod.uid.clone(), owner: place.uid.clone(), shape, was_on_server };
            page.not_before = now.after(between);
            return Some(Order { key, namespace: place.namespace.clone(), write });
        }
    }

    fn done(&mut self, sent: Sent, outcome: Outcome, now: BootTime) {
        let Some(page) = self.pages.get_mut(&sent.pod) else { return };
        // The pod was made anew meanwhile.
        if page.place.as_ref().is_none_or(|place| place.uid != sent.owner) {
            return;
        }
        let at = match outcome {
            Outcome::Written => {
                page.written = Some(Written { shape: sent.shape, at: now });
                // Perhaps somebody deletes it.
                let renew = self.times.renew;
                let again = now.after(renew).after(part_of(renew, sent.shape));
                page.due = page.due.into_iter().chain(page.has_findings().then_some(again)).min();
                return;
            }
            Outcome::Again(at) => at,
            Outcome::Refused(at) => {
                page.on_server = sent.was_on_server;
                at
            }
        };
        page.has_failed = true;
        page.due = Some(at.max(page.not_before));
    }

    fn owed(&self) -> BTreeSet<&str> {
        let failed = self.pages.values().filter(|page| page.has_failed);
        failed.filter_map(|page| Some(page.place.as_ref()?.namespace.as_str())).collect()
    }

    fn limited(&self) -> u64 {
        self.limited
    }
}
