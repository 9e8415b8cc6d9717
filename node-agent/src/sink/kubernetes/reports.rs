//! What each pod's report ought to say, and which is due. A state, not a queue: of many changes only the last is written, and
//! what could not be written stays due.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::desk::{Desk, Lookup, Order, Outcome, Times};
use super::line::Line;
use super::place::Place;
use super::report_object::{Author, report};
use crate::api_server::backoff::part_of;
use crate::engine::change::{Finding, FindingState, PodRef};
use crate::engine::identity::{BootTime, PodUid};

/// Pods that are kept.
const MAX_PODS: usize = 1024;
/// Findings of one pod that are kept; what is above is missing in the summary, and counted.
const MAX_LINES: usize = 256;
/// Findings of all pods that are kept.
const MAX_ALL_LINES: usize = 8192;

/// One pod's report.
#[derive(Debug)]
struct Page {
    pod: PodRef,
    place: Option<Place>,
    lines: BTreeMap<String, Line>,
    /// What the API server has by us.
    written: Option<Written>,
    /// It has one, by us or by an agent before us, or may have.
    on_server: bool,
    /// Not before this, whatever changes.
    not_before: BootTime,
    due: Option<BootTime>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    shape: u64,
    at: BootTime,
}

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
    shape: u64,
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

    fn page(&mut self, pod: &PodRef) -> Option<&mut Page> {
        if !self.pages.contains_key(&pod.uid) && self.pages.len() >= MAX_PODS {
            self.limited += 1;
            return None;
        }
        Some(self.pages.entry(pod.uid.clone()).or_insert_with(|| Page::new(pod.clone())))
    }

    /// A finding may outlive what is known of its pod.
    fn pod_of(&self, finding: &Finding) -> Option<PodUid> {
        let holds = |page: &&Page| page.lines.contains_key(&finding.id);
        match &finding.pod {
            Some(pod) => Some(pod.uid.clone()),
            None => self.pages.values().find(holds).map(|page| page.pod.uid.clone()),
        }
    }

    /// Puts a finding in, or takes it out. True if that is news, false if only amounts differ; `None`: nothing changed.
    fn fold(&mut self, uid: &PodUid, finding: &Finding) -> Option<bool> {
        if finding.state == FindingState::Resolved {
            let gone = self.pages.get_mut(uid)?.lines.remove(&finding.id);
            self.lines -= usize::from(gone.is_some());
            return gone.map(|_| true);
        }
        let all = self.lines;
        let page = self.page(finding.pod.as_ref()?)?;
        let line = Line::of(finding);
        let known = page.lines.get(&line.id);
        if known.is_none() && (page.lines.len() >= MAX_LINES || all >= MAX_ALL_LINES) {
            self.limited += 1;
            return None;
        }
        let is_news = known.is_none_or(|known| known.shape() != line.shape());
        let before = page.lines.insert(line.id.clone(), line);
        self.lines += usize::from(before.is_none());
        Some(is_news)
    }
}

impl Page {
    fn new(pod: PodRef) -> Self {
        Self {
            pod,
            place: None,
            lines: BTreeMap::new(),
            written: None,
            on_server: false,
            not_before: BootTime(0),
            due: None,
        }
    }

    fn shape(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for line in self.lines.values() {
            line.shape().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Nothing was ever told of it, and there is nothing to tell.
    fn is_nothing(&self) -> bool {
        self.lines.is_empty() && !self.on_server
    }
}

impl Desk for Reports {
    const NAME: &'static str = "sink/reports";
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
        if now >= self.look_at {
            for (pod, _) in std::mem::take(&mut self.left).iter().filter_map(at_server) {
                let Some(page) = self.page(&pod) else { return };
                page.on_server = true;
                page.due = page.due.or(page.written.is_none().then_some(now));
            }
        }
        let mut gone = 0;
        self.pages.retain(|uid, page| {
            let was_known = page.place.is_some();
            page.place = at_server(uid).and_then(|(_, uid)| Place::of(&page.pod, uid));
            // Its report goes with it.
            let stays = (page.place.is_some() || !was_known) && !page.is_nothing();
            gone += if stays { 0 } else { page.lines.len() };
            stays
        });
        self.lines -= gone;
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
            let shape = page.shape();
            // It changed and changed back.
            let is_written = page.written.is_some_and(|written| {
                written.shape == shape && (now.since(written.at) < refresh || page.lines.is_empty())
            });
            let Some(place) = page.place.as_ref().filter(|_| !is_written && !page.is_nothing()) else {
                continue;
            };
            page.not_before = now.after(between);
            page.on_server = true;
            let lines: Vec<&Line> = page.lines.values().collect();
            let key = Sent { pod: page.pod.uid.clone(), shape };
            return Some(Order {
                key,
                namespace: place.namespace.clone(),
                write: report(author, place, &lines),
            });
        }
    }

    fn done(&mut self, sent: Sent, outcome: Outcome, now: BootTime) {
        let Some(page) = self.pages.get_mut(&sent.pod) else { return };
        match outcome {
            Outcome::Written => page.written = Some(Written { shape: sent.shape, at: now }),
            Outcome::Again(at) => page.due = Some(at.max(page.not_before)),
        }
    }

    fn limited(&self) -> u64 {
        self.limited
    }
}
