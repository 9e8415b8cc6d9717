//! Judges a port: attributes it, reports its listener, and decides on its finding. The result depends on the state alone,
//! not on the input that led there, so the order of inputs does not matter.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::judge::context::JudgeContext;
use crate::model::change::Change;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::Fnv;
use crate::model::identity::{BootTime, PortId, Protocol};
use crate::model::listener::{DeclarationStatus, ListenerState};
use crate::model::options::RecordMode;
use crate::model::reach::Reach;
use crate::read::render;
use crate::rules::declaration;
use crate::rules::explanation::explanations;
use crate::state::port::{Port, Recording};
use crate::state::ports::PortIndexes;
use crate::state::quota::Usage;
use crate::state::redirects::TargetState;
use crate::state::storms::StormScope;
use crate::state::timers::Timer;
use crate::state::undecided::ClosedPort;

/// Maximum time that a close waits for the drain with its last traffic.
pub(crate) const LAST_TRAFFIC: Duration = Duration::from_secs(3);

/// What happens to a port after it was judged.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Keep the port, and judge it again at this time.
    Keep(Option<BootTime>),
    /// Remove the port from the table.
    Drop,
    /// Count the port's traffic for this port, and remove it from the table.
    Fold(PortId),
}

/// One port that is being judged.
#[derive(Debug)]
pub(crate) struct PortJudge<'a> {
    pub(crate) id: PortId,
    pub(crate) port: &'a mut Port,
    pub(crate) index: &'a mut PortIndexes,
    pub(crate) context: JudgeContext<'a>,
}

impl Engine {
    /// Judges one port; does nothing if the port is not in the table.
    pub(crate) fn judge(&mut self, id: PortId, now: BootTime) {
        let (context, ports) = self.judging(now);
        let Some((port, index)) = ports.split(id) else { return };
        let mut judge = PortJudge { id, port, index, context };
        let judged = &mut judge.context.outbox.totals_mut().judged;
        *judged = judged.saturating_add(1);
        judge.attribute();
        judge.recall();
        judge.settle_origins();
        judge.settle_audience();
        match judge.decide() {
            Outcome::Keep(again) => {
                let again = again.into_iter().chain(judge.port.settle_at()).min();
                judge.context.agenda.set(Timer::Port(id), again);
            }
            Outcome::Drop => {
                judge.release();
                ports.remove(id);
            }
            Outcome::Fold(to) => {
                judge.hide();
                let delta = judge.port.traffic().to_delta(id.protocol);
                judge.index.fold(to, delta, judge.port.traffic().last_seen().unwrap_or(now));
                judge.release();
                ports.remove(id);
            }
        }
    }
}

impl PortJudge<'_> {
    fn decide(&mut self) -> Outcome {
        let now = self.context.now;
        let hold = self.port.first_heard_at.after(self.context.options.attribution_hold);
        if let Some(outcome) = self.settle_redirect(hold) {
            return outcome;
        }
        let forwarded_until = self.settle_forward();
        let Some(bindings) = self.port.bindings.clone() else {
            return if now < hold { Outcome::Keep(Some(hold)) } else { Outcome::Drop };
        };
        if self.is_ignored() {
            self.hide();
            return self.ignore(hold);
        }
        self.watch();
        if let Some(outcome) = self.settle_datagrams(&bindings) {
            return outcome;
        }
        if self.port.reported.is_none() && self.is_unsure() && !self.is_host() && now < hold {
            return Outcome::Keep(Some(hold));
        }
        self.settle_recording();
        let is_new_report = self.report_listener();
        let is_served = self.port.is_served();
        // A port of another netns inside the pod is not the one that the pod's manifests mean.
        if let Some(pod) =
            self.port.pod.filter(|pod| self.context.facts.netns_of(*pod) == Some(self.id.netns))
        {
            self.context.check_expected_port(pod, (self.id.protocol, self.id.port), self.port);
        }
        if !is_served {
            return self.close();
        }
        let again = self.judge_finding(&bindings, is_new_report);
        Outcome::Keep(again.into_iter().chain(forwarded_until).min())
    }

    /// True if the id of the port may still change. Until the netns of a pod is known, a pod's main netns cannot be
    /// distinguished from another netns inside the pod, and the two give different ids.
    fn is_unsure(&self) -> bool {
        let facts = &*self.context.facts;
        let Some(pod) = self.port.pod else { return true };
        if facts.netns.facts(self.id.netns).is_none() {
            return true;
        }
        facts.pods.awaits_netns(pod, &facts.netns)
    }

    pub(crate) fn is_host(&self) -> bool {
        self.context.facts.netns.is_host(self.id.netns)
    }

    /// Counts the port among those with findings, by the code of its own; `None` if it makes none.
    pub(crate) fn count_finding(&mut self, code: Option<FindingCode>) {
        let (pod, netns) = (self.port.pod, self.id.netns);
        let counted_by = code.map(|code| StormScope::of(pod, netns, code));
        for scope in StormScope::all_of(pod, netns) {
            let code = code.filter(|_| counted_by == Some(scope));
            self.context.update_storm(scope, self.id, code);
        }
    }

    /// True for the node's own sockets, unless `include_host` is set.
    fn is_ignored(&self) -> bool {
        self.port.pod.is_none() && self.is_host() && !self.context.options.include_host
    }

    /// Stops counting an ignored port once the hold is over, during which a pod may still claim it.
    fn ignore(&mut self, hold: BootTime) -> Outcome {
        if self.port.sockets.is_empty() {
            return Outcome::Drop;
        }
        if self.context.now < hold {
            return Outcome::Keep(Some(hold));
        }
        self.stop_recording();
        let was_watched = std::mem::take(&mut self.port.watched);
        if !std::mem::replace(&mut self.port.dismissed, true) || was_watched {
            self.context.outbox.push(Change::Unwatch(self.id));
        }
        Outcome::Keep(None)
    }

    /// Asks the kernel side to count the port.
    fn watch(&mut self) {
        if !self.port.watched {
            self.port.watched = true;
            self.port.counted_since = self.context.options.counts_traffic.then_some(self.context.now).into();
            self.context.outbox.push(Change::Watch(self.id));
        }
    }

    /// Asks the kernel side to record single connections of the port, or not to, by the record mode.
    fn settle_recording(&mut self) {
        if self.id.protocol != Protocol::Tcp {
            return;
        }
        let mode = self.context.options.record;
        let on = match mode {
            RecordMode::All => true,
            RecordMode::None => false,
            // From the first call on that no explanation explains.
            RecordMode::Undeclared => {
                self.port.status == DeclarationStatus::Undeclared || self.port.is_called_unexpectedly()
            }
        };
        let next = if on { Recording::On } else { Recording::Off };
        let before = std::mem::replace(&mut self.port.recording, next);
        if before != next {
            if mode != RecordMode::None {
                self.context.outbox.push(Change::Record { port: self.id, on });
            }
            self.context.facts.connections.undecided.decide(self.id);
        }
    }

    /// Reports the listener if it differs from the last report. True if it was reported.
    fn report_listener(&mut self) -> bool {
        let mark = self.change_mark();
        let was_reported = self.port.reported.is_some();
        // `close` reports the listener as closed, so the changes that a close causes need no report of their own.
        if self.port.reported == Some(mark) || (was_reported && !self.port.is_served()) {
            return false;
        }
        if !was_reported && self.port.pod.is_none() && !self.is_host() {
            let unattributed = &mut self.context.outbox.totals_mut().unattributed;
            *unattributed = unattributed.saturating_add(1);
        }
        self.port.reported = Some(mark);
        self.index.claim_id(self.port.id, self.id);
        self.emit_listener(ListenerState::Open);
        true
    }

    fn emit_listener(&mut self, state: ListenerState) {
        if !self.context.options.emits_reports {
            return self.context.outbox.touch();
        }
        let listener = render::listener(self.context.facts, self.id, self.port, state);
        self.context.outbox.emit(Change::Listener(Arc::new(listener)));
    }

    /// Hashes everything that makes the listener worth another report.
    fn change_mark(&self) -> u64 {
        let (id, port) = (self.id, &*self.port);
        let mut fnv = Fnv::default();
        if let Some(record) = port.pod.and_then(|pod| self.context.facts.pods.get(pod)) {
            self.context.facts.container(port).map(|container| &container.name).hash(&mut fnv);
            // Both are part of the fingerprint, and a source may tell them late.
            let workload = record.pod.workload.as_ref();
            workload.map(|workload| (&workload.kind, &workload.name)).hash(&mut fnv);
            record.reference.sole_container.hash(&mut fnv);
            let declaring = declaration::declaring(&record.pod, id.protocol, id.port);
            declaring.iter().for_each(|container| container.name.hash(&mut fnv));
            if port.status == DeclarationStatus::Explained {
                let served = self.context.facts.served_port(id, port);
                for why in explanations(record.manifests(), served) {
                    let why = why.describe(id.protocol, id.port);
                    (why.reference, why.audience).hash(&mut fnv);
                }
            }
        }
        port.change_mark(fnv.finish())
    }

    /// Remembers since when the port was served, in case it opens again within the grace time.
    pub(crate) fn keep_age(&mut self) {
        let until = self.context.now.after(self.context.options.grace);
        if !self.index.keep_age(self.id, self.port.age, until) {
            self.context.outbox.refuse("engine-closed-ports-full");
        }
    }

    /// Returns until when traffic from before the close may still be drained; `None` if all of it was.
    pub(crate) fn last_traffic_until(&self, closed_at: BootTime) -> Option<BootTime> {
        let drained = self.index.last_drain().is_some_and(|drain| drain >= closed_at);
        let deadline = closed_at.after(LAST_TRAFFIC);
        let waits = self.context.options.traffic_drained && !drained && self.context.now < deadline;
        waits.then_some(deadline)
    }

    /// Returns when it will be certain who called an undeclared port, if that is not known yet and may raise its code.
    fn last_origin_at(&self) -> Option<BootTime> {
        let may_rise = self.port.pod.is_some()
            && self.port.is_undeclared()
            && self.port.judged_reach() < Reach::External;
        self.port.settle_at().filter(|at| may_rise && self.context.now < *at)
    }

    /// Reports the close, unless traffic of the port's last moments may still be drained, or its callers are not certain.
    fn close(&mut self) -> Outcome {
        let (now, options) = (self.context.now, self.context.options);
        let closed_at = self.port.closed_at.get().unwrap_or(now);
        if let Some(deadline) = self.last_traffic_until(closed_at).or_else(|| self.last_origin_at()) {
            return Outcome::Keep(Some(deadline));
        }
        if let Some(bindings) = self.port.bindings.clone() {
            self.judge_last_calls(&bindings);
        }
        if let Some(bindings) = &self.port.bindings
            && bindings.opened_at.get().is_some()
            && closed_at.since(bindings.first_at) < options.grace
        {
            let short_lived = &mut self.context.outbox.totals_mut().short_lived;
            *short_lived = short_lived.saturating_add(1);
        }
        self.keep_age();
        self.withdraw();
        self.forget_remembered();
        Outcome::Drop
    }

    /// Resolves the finding, and reports the listener as closed, under the port's present id. Neither if the port in the
    /// pod's present netns took the id over.
    pub(crate) fn withdraw(&mut self) {
        self.resolve_finding();
        if !self.index.is_taken_over(self.port.id, self.id) {
            self.emit_listener(ListenerState::Closed);
        }
        self.index.release_id(self.port.id, self.id);
    }

    /// Asks the kernel side not to record connections any more, and drops those that wait for the decision.
    fn stop_recording(&mut self) {
        if std::mem::replace(&mut self.port.recording, Recording::Off) == Recording::On {
            self.context.outbox.push(Change::Record { port: self.id, on: false });
        }
        self.context.facts.connections.undecided.decide(self.id);
    }

    /// Withdraws everything that was reported about a port that is not to be reported any more.
    pub(crate) fn hide(&mut self) {
        self.count_finding(None);
        if self.port.reported.is_some() {
            self.withdraw();
            self.port.reported = None;
        }
    }

    /// Releases everything that refers to a port which is about to leave the table.
    fn release(&mut self) {
        let id = self.id;
        self.context.agenda.set(Timer::Port(id), None);
        let peers = self.port.traffic().peer_count();
        self.context.facts.netns.refund(id.netns, Usage { ports: 1, peers, ..Usage::default() });
        self.count_finding(None);
        if let Some(record) = self.port.pod.and_then(|pod| self.context.facts.pods.get_mut(pod)) {
            record.ports.remove(&id);
        }
        if self.port.recording == Recording::On {
            let reference = self.port.pod.and_then(|pod| self.context.facts.pods.get(pod));
            let reference = reference.map(|record| Arc::clone(&record.reference));
            let closed = ClosedPort { listener_id: self.port.id, pod: reference };
            self.context.facts.connections.undecided.remember(id, closed);
        }
        if self.port.recording == Recording::Undecided {
            self.context.facts.connections.undecided.discard(id);
        }
        self.stop_recording();
        let dependent = self.index.redirects.update(id, TargetState::Unserved);
        self.context.agenda.judge_all(dependent);
        // The kernel side counts a port from the moment it opens, watched or not.
        self.context.outbox.push(Change::Unwatch(id));
        if self.context.facts.awaits(id) {
            self.context.outbox.push(Change::Watch(id));
        }
        self.context.facts.netns.prune(id.netns);
    }
}
