//! Judges a port: attributes it, reports its listener, and decides on its finding. The result depends on the state alone,
//! not on the input that led there, so the order of inputs does not matter.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::judge::context::JudgeContext;
use crate::model::change::Change;
use crate::model::fingerprint::Fnv;
use crate::model::identity::{BootTime, PortId, Protocol};
use crate::model::listener::{DeclarationStatus, Explanation, ListenerState};
use crate::model::options::RecordMode;
use crate::read::render;
use crate::rules::container_match::container;
use crate::rules::declaration;
use crate::rules::explanation::explanations;
use crate::rules::manifests::ServedPort;
use crate::state::bindings::Bindings;
use crate::state::port::Port;
use crate::state::ports::PortIndexes;
use crate::state::quota::Usage;
use crate::state::storms::StormScope;
use crate::state::timers::Timer;

/// Minimum age at which an ephemeral UDP port can count as a server.
const EPHEMERAL_PROOF: Duration = Duration::from_secs(5);

/// Maximum time that a close waits for the drain with its last traffic.
const LAST_TRAFFIC: Duration = Duration::from_secs(3);

/// What happens to a port after it was judged.
enum Outcome {
    /// Keep the port, and judge it again at this time.
    Keep(Option<BootTime>),
    /// Remove the port from the table.
    Drop,
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
        judge.settle_origins();
        match judge.decide() {
            Outcome::Keep(again) => {
                let again = again.into_iter().chain(judge.port.settle_at()).min();
                judge.context.agenda.set(Timer::Port(id), again);
            }
            Outcome::Drop => {
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
        let Some(bindings) = self.port.bindings.clone() else {
            return if now < hold { Outcome::Keep(Some(hold)) } else { Outcome::Drop };
        };
        if self.is_ignored() {
            self.hide();
            return self.ignore(hold);
        }
        self.watch();
        if self.is_candidate(&bindings) {
            self.hide();
            return if self.port.sockets.is_empty() { Outcome::Drop } else { Outcome::Keep(None) };
        }
        // Until its netns is known, a pod's main netns cannot be distinguished from another netns inside the pod, and the
        // two give different ids.
        let unsure = self.port.pod.is_none() || self.context.facts.netns.facts(self.id.netns).is_none();
        if self.port.reported.is_none() && unsure && !self.is_host() && now < hold {
            return Outcome::Keep(Some(hold));
        }
        let is_new_report = self.report_listener();
        let is_served = !self.port.sockets.is_empty();
        if let Some(pod) = self.port.pod {
            self.context.check_expected_port(pod, (self.id.protocol, self.id.port), is_served);
        }
        if !is_served {
            return self.close();
        }
        Outcome::Keep(self.judge_finding(&bindings, is_new_report))
    }

    pub(crate) fn is_host(&self) -> bool {
        self.context.facts.netns.is_host(self.id.netns)
    }

    /// The pod or netns that counts this port towards a storm.
    pub(crate) fn storm_scope(&self) -> StormScope {
        self.port.pod.map_or(StormScope::Netns(self.id.netns), StormScope::Pod)
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
        if std::mem::take(&mut self.port.recording) {
            self.context.outbox.push(Change::Record { port: self.id, on: false });
        }
        let was_watched = std::mem::take(&mut self.port.watched);
        if !std::mem::replace(&mut self.port.dismissed, true) || was_watched {
            self.context.outbox.push(Change::Unwatch(self.id));
        }
        Outcome::Keep(None)
    }

    /// True for a UDP port in the ephemeral range that has not proved to be a server. Such a bind is mostly a client's; the
    /// port counts once it stayed open and several peers sent to it.
    fn is_candidate(&mut self, bindings: &Bindings) -> bool {
        let Some(facts) = self.context.facts.netns.facts(self.id.netns) else { return false };
        let port = &mut *self.port;
        let (first, last) = facts.ephemeral_ports;
        let ephemeral = self.id.protocol == Protocol::Udp && (first..=last).contains(&self.id.port.get());
        let expected = matches!(port.status, DeclarationStatus::Declared | DeclarationStatus::Explained);
        if !ephemeral || port.serves || expected {
            return false;
        }
        let stayed = port.scanned_at.is_some_and(|at| at >= bindings.first_at.after(EPHEMERAL_PROOF));
        port.serves = stayed && port.traffic.is_called_by_several();
        !port.serves
    }

    /// Asks the kernel side to count the port, and to record its connections if the record mode covers it.
    fn watch(&mut self) {
        if !self.port.watched {
            self.port.watched = true;
            self.context.outbox.push(Change::Watch(self.id));
        }
        let on = match self.context.options.record {
            RecordMode::All => true,
            RecordMode::None => false,
            RecordMode::Undeclared => self.port.status == DeclarationStatus::Undeclared,
        };
        if self.port.recording != on {
            self.port.recording = on;
            self.context.outbox.push(Change::Record { port: self.id, on });
        }
    }

    /// Reports the listener if it differs from the last report. True if it was reported.
    fn report_listener(&mut self) -> bool {
        let mark = self.change_mark();
        let was_reported = self.port.reported.is_some();
        // `close` reports the listener as closed, so the changes that a close causes need no report of their own.
        if self.port.reported == Some(mark) || (was_reported && self.port.sockets.is_empty()) {
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
        let listener = render::listener(self.context.facts, self.id, self.port, state);
        self.context.outbox.emit(Change::Listener(Arc::new(listener)));
    }

    /// Hashes everything that makes the listener worth another report.
    fn change_mark(&self) -> u64 {
        let (id, port) = (self.id, &*self.port);
        let mut fnv = Fnv::default();
        if let Some(record) = port.pod.and_then(|pod| self.context.facts.pods.get(pod)) {
            let process = port.representative();
            let declaring = declaration::declaring(&record.pod, id.protocol, id.port);
            container(&record.pod, process, &declaring).map(|container| &container.name).hash(&mut fnv);
            declaring.iter().for_each(|container| container.name.hash(&mut fnv));
            if port.status == DeclarationStatus::Explained {
                let served = ServedPort { protocol: id.protocol, port: id.port, process };
                for why in explanations(record.manifests(), served).map(Explanation::from) {
                    why.reference.hash(&mut fnv);
                }
            }
        }
        port.change_mark(fnv.finish())
    }

    /// Reports the close, unless traffic of the port's last moments may still be drained.
    fn close(&mut self) -> Outcome {
        let (now, options) = (self.context.now, self.context.options);
        let closed_at = self.port.closed_at.unwrap_or(now);
        let drained = self.index.last_drain().is_some_and(|drain| drain >= closed_at);
        let deadline = closed_at.after(LAST_TRAFFIC);
        if options.traffic_drained && !drained && now < deadline {
            return Outcome::Keep(Some(deadline));
        }
        if let Some(bindings) = &self.port.bindings
            && bindings.opened_at.is_some()
            && closed_at.since(bindings.first_at) < options.grace
        {
            let short_lived = &mut self.context.outbox.totals_mut().short_lived;
            *short_lived = short_lived.saturating_add(1);
        }
        if !self.index.keep_age(self.id, self.port.age, now.after(options.grace)) {
            self.context.outbox.refuse("engine-closed-ports-full");
        }
        self.withdraw();
        Outcome::Drop
    }

    /// Resolves the finding, and reports the listener as closed, under the port's present id.
    pub(crate) fn withdraw(&mut self) {
        self.resolve_finding();
        self.emit_listener(ListenerState::Closed);
        self.index.release_id(self.port.id, self.id);
    }

    /// Withdraws everything that was reported about a port that is not to be reported any more.
    fn hide(&mut self) {
        self.context.update_storm(self.storm_scope(), self.id, None);
        if self.port.reported.is_some() {
            self.withdraw();
            self.port.reported = None;
        }
    }

    /// Releases everything that refers to a port which is about to leave the table.
    fn release(&mut self) {
        let id = self.id;
        self.context.agenda.set(Timer::Port(id), None);
        let peers = self.port.traffic.peer_count();
        self.context.facts.netns.refund(id.netns, Usage { ports: 1, peers, ..Usage::default() });
        self.context.update_storm(self.storm_scope(), id, None);
        if let Some(record) = self.port.pod.and_then(|pod| self.context.facts.pods.get_mut(pod)) {
            record.ports.remove(&id);
        }
        if self.port.recording {
            self.context.outbox.push(Change::Record { port: id, on: false });
        }
        // The kernel side counts a port from the moment it opens, watched or not.
        self.context.outbox.push(Change::Unwatch(id));
        self.context.facts.netns.prune(id.netns);
    }
}
