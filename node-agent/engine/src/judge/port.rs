//! Judges a port: attributes it, reports its listener, and opens, changes or resolves its finding. The result depends
//! on the state alone, not on the input that led there, so the order of inputs does not matter.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::model::change::Change;
use crate::model::fingerprint::{Fnv, Owner, port_id};
use crate::model::identity::{BootTime, PodKey, PortId, Protocol};
use crate::model::listener::{DeclarationStatus, Explanation, Exposure, ListenerState};
use crate::model::options::RecordMode;
use crate::model::pod::{Container, ContainerKind};
use crate::model::policy::PolicyVerdict;
use crate::model::reach::Reach;
use crate::rules::attribution::{Attribution, attribute};
use crate::rules::container_match::{container, is_ephemeral};
use crate::rules::evaluate::{Facts, PodFact, verdict};
use crate::rules::explanation::explanations;
use crate::rules::manifests::ServedPort;
use crate::rules::{declaration, isolation};
use crate::state::addresses::Serving;
use crate::state::bindings::Bindings;
use crate::state::findings::{Assessment, REPORT_INTERVAL, Raised, Subject};
use crate::state::pod_record::PodRecord;
use crate::state::port::Port;
use crate::state::quota::Usage;
use crate::state::storms::StormScope;
use crate::state::timers::Timer;

/// An ephemeral UDP port is looked at again after this long.
const EPHEMERAL_PROOF: Duration = Duration::from_secs(5);

/// How long a close waits for its last traffic.
const LAST_TRAFFIC: Duration = Duration::from_secs(3);

/// What is to happen to a port after it was judged.
enum Outcome {
    /// Keep it, and look again then.
    Keep(Option<BootTime>),
    Drop,
}

/// Whose findings are counted together with this port's.
fn storm_scope(id: PortId, port: &Port) -> StormScope {
    port.pod.map_or(StormScope::Netns(id.netns), StormScope::Pod)
}

impl Engine {
    pub(crate) fn judge(&mut self, id: PortId, now: BootTime) {
        let Some(mut port) = self.ports.remove(&id) else { return };
        self.totals.judged = self.totals.judged.saturating_add(1);
        self.attribute_port(id, &mut port);
        self.settle_origins(id, &mut port, now);
        match self.decide(id, &mut port, now) {
            Outcome::Keep(again) => {
                let again = again.into_iter().chain(port.settle_at()).min();
                self.timers.set(Timer::Port(id), again);
                self.ports.insert(id, port);
            }
            Outcome::Drop => self.release(id, &port),
        }
    }

    fn decide(&mut self, id: PortId, port: &mut Port, now: BootTime) -> Outcome {
        let hold = port.first_heard_at.after(self.options.attribution_hold);
        let Some(bindings) = port.bindings.clone() else {
            return if now < hold { Outcome::Keep(Some(hold)) } else { Outcome::Drop };
        };
        if self.is_ignored(id, port) {
            self.hide(id, port);
            return self.ignore(id, port, hold, now);
        }
        self.watch(id, port);
        if self.is_candidate(id, port, &bindings) {
            self.hide(id, port);
            return if port.sockets.is_empty() { Outcome::Drop } else { Outcome::Keep(None) };
        }
        // Before its netns is known, a pod's main netns cannot be told from a further one in it: the id would change.
        let unsure = port.pod.is_none() || self.netns.facts(id.netns).is_none();
        if port.reported.is_none() && unsure && !self.netns.is_host(id.netns) && now < hold {
            return Outcome::Keep(Some(hold));
        }
        let is_new_report = self.report_listener(id, port);
        self.check_expected_port(id, port, now);
        if port.sockets.is_empty() {
            return self.close(id, port, now);
        }
        Outcome::Keep(self.judge_finding(id, port, &bindings, is_new_report, now))
    }

    /// The node's own sockets are nobody's, unless asked for.
    fn is_ignored(&self, id: PortId, port: &Port) -> bool {
        port.pod.is_none() && self.netns.is_host(id.netns) && !self.options.include_host
    }

    /// Counts nothing for it, unless a pod may still claim it.
    fn ignore(&mut self, id: PortId, port: &mut Port, hold: BootTime, now: BootTime) -> Outcome {
        if port.sockets.is_empty() {
            return Outcome::Drop;
        }
        if now < hold {
            return Outcome::Keep(Some(hold));
        }
        if std::mem::take(&mut port.recording) {
            self.out.push(Change::Record { port: id, on: false });
        }
        let was_watched = std::mem::take(&mut port.watched);
        if !std::mem::replace(&mut port.dismissed, true) || was_watched {
            self.out.push(Change::Unwatch(id));
        }
        Outcome::Keep(None)
    }

    /// An explicit bind to an ephemeral UDP port is mostly a client: it counts once it stayed and several peers sent to it.
    fn is_candidate(&self, id: PortId, port: &mut Port, bindings: &Bindings) -> bool {
        let Some(facts) = self.netns.facts(id.netns) else { return false };
        let (first, last) = facts.ephemeral_ports;
        let ephemeral = id.protocol == Protocol::Udp && (first..=last).contains(&id.port.get());
        let expected = matches!(port.status, DeclarationStatus::Declared | DeclarationStatus::Explained);
        if !ephemeral || port.serves || expected {
            return false;
        }
        let stayed = port.scanned_at.is_some_and(|at| at >= bindings.first_at.after(EPHEMERAL_PROOF));
        port.serves = stayed && port.traffic.is_called_by_several();
        !port.serves
    }

    fn attribute_port(&mut self, id: PortId, port: &mut Port) {
        let facts = self.netns.facts(id.netns).map(Arc::as_ref);
        let processes = port.bindings.iter().flat_map(Bindings::processes).chain([None]);
        let mut found = processes.into_iter().find_map(|process| attribute(&self.pods, facts, process));
        if found.is_none() {
            // A pod that was deleted keeps its name here until it is forgotten, and so does one of which the runtime, which
            // alone knew its netns, says no more.
            let stays = |record: &PodRecord| {
                record.departed.is_some() || (record.pod.netns_path.is_none() && !record.pod.host_network)
            };
            found = port
                .pod
                .filter(|pod| self.pods.get(*pod).is_some_and(stays))
                .map(|pod| Attribution { pod, main_netns: true });
        }
        let pod = found.map(|found| found.pod);
        let next = self.name(id, found);
        if port.id != next && port.id != 0 && port.reported.is_some() {
            self.withdraw(id, port);
            port.reported = None;
        }
        if port.pod != pod {
            self.move_port(id, port, pod);
        }
        port.id = next;
        port.status = pod.and_then(|pod| self.pods.get(pod)).map_or(DeclarationStatus::Unknown, |record| {
            let served = ServedPort { protocol: id.protocol, port: id.port, process: port.representative() };
            declaration::status(record.manifests(), served)
        });
    }

    fn name(&self, id: PortId, found: Option<Attribution>) -> u64 {
        let record = found.and_then(|found| Some((found.main_netns, self.pods.get(found.pod)?)));
        let owner = match record {
            None => Owner::Netns(id.netns),
            Some((true, record)) => Owner::Pod(&record.pod.uid),
            Some((false, record)) => Owner::PodNetns(&record.pod.uid, id.netns),
        };
        port_id(owner, id.protocol, id.port.get())
    }

    fn move_port(&mut self, id: PortId, port: &mut Port, pod: Option<PodKey>) {
        self.update_storm(storm_scope(id, port), id, None);
        if let Some(record) = port.pod.and_then(|before| self.pods.get_mut(before)) {
            record.ports.remove(&id);
        }
        let first = port.pod.is_none();
        port.pod = pod;
        let Some(pod) = pod else {
            self.unattributed.insert(id);
            return;
        };
        self.unattributed.remove(&id);
        if let Some(record) = self.pods.get_mut(pod) {
            record.ports.insert(id);
        }
        if first {
            let serving = Serving { pod: port.pod, facts: self.netns.facts(id.netns).map(Arc::as_ref) };
            if let Some(nat_paths) = port.nat_paths.as_deref_mut() {
                nat_paths.retrace();
            }
            let resolve = |peer| self.peer_origin(peer, serving, port.nat_paths.as_deref());
            port.traffic.resolve_all(id.protocol, &resolve);
        }
    }

    fn settle_origins(&mut self, id: PortId, port: &mut Port, now: BootTime) {
        let serving = Serving { pod: port.pod, facts: self.netns.facts(id.netns).map(Arc::as_ref) };
        self.settle_nat_paths(id, port, now);
        let nat_paths = port.nat_paths.as_deref();
        let resolve = |peer| self.peer_origin(peer, serving, nat_paths);
        port.traffic.settle(id.protocol, now, self.options.attribution_hold, &resolve);
    }

    fn watch(&mut self, id: PortId, port: &mut Port) {
        if !port.watched {
            port.watched = true;
            self.out.push(Change::Watch(id));
        }
        let on = match self.options.record {
            RecordMode::All => true,
            RecordMode::None => false,
            RecordMode::Undeclared => port.status == DeclarationStatus::Undeclared,
        };
        if port.recording != on {
            port.recording = on;
            self.out.push(Change::Record { port: id, on });
        }
    }

    /// Prints the listener if it differs from what was printed; true if it did.
    fn report_listener(&mut self, id: PortId, port: &mut Port) -> bool {
        let change_mark = self.change_mark(id, port);
        // A close is one line of its own: what it changes is not printed before it.
        if port.reported == Some(change_mark) || (port.reported.is_some() && port.sockets.is_empty()) {
            return false;
        }
        if port.reported.is_none() && port.pod.is_none() && !self.netns.is_host(id.netns) {
            self.totals.unattributed = self.totals.unattributed.saturating_add(1);
        }
        port.reported = Some(change_mark);
        self.ids.insert(port.id, id);
        let listener = self.render_listener(id, port, ListenerState::Open);
        self.emit(Change::Listener(Arc::new(listener)));
        true
    }

    /// A mark of all that makes the listener worth printing again.
    fn change_mark(&self, id: PortId, port: &Port) -> u64 {
        let mut fnv = Fnv::default();
        if let Some(record) = port.pod.and_then(|pod| self.pods.get(pod)) {
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

    fn close(&mut self, id: PortId, port: &Port, now: BootTime) -> Outcome {
        let closed_at = port.closed_at.unwrap_or(now);
        let drained = self.last_drain.is_some_and(|drain| drain >= closed_at);
        let max_gap = closed_at.after(LAST_TRAFFIC);
        if self.options.traffic_drained && !drained && now < max_gap {
            return Outcome::Keep(Some(max_gap));
        }
        if let Some(bindings) = &port.bindings
            && bindings.opened_at.is_some()
            && closed_at.since(bindings.first_at) < self.options.grace
        {
            self.totals.short_lived = self.totals.short_lived.saturating_add(1);
        }
        if !self.port_ages.keep(id, port.age, now.after(self.options.grace)) {
            self.refuse("engine-closed-ports-full");
        }
        self.withdraw(id, port);
        Outcome::Drop
    }

    /// Ends what was told under the port's present id.
    fn withdraw(&mut self, id: PortId, port: &Port) {
        self.resolve_port_finding(id, port);
        let listener = self.render_listener(id, port, ListenerState::Closed);
        self.emit(Change::Listener(Arc::new(listener)));
        if self.ids.get(&port.id) == Some(&id) {
            self.ids.remove(&port.id);
        }
    }

    /// Takes back what was told of a port that is nothing to tell of any more.
    fn hide(&mut self, id: PortId, port: &mut Port) {
        self.update_storm(storm_scope(id, port), id, None);
        if port.reported.is_some() {
            self.withdraw(id, port);
            port.reported = None;
        }
    }

    fn release(&mut self, id: PortId, port: &Port) {
        self.timers.set(Timer::Port(id), None);
        self.unattributed.remove(&id);
        self.closing.remove(&id);
        let peers = port.traffic.peer_count();
        self.peers = self.peers.saturating_sub(peers);
        self.netns.refund(id.netns, Usage { ports: 1, peers, ..Usage::default() });
        if let Some(nat_paths) = &port.nat_paths {
            self.nat_paths = self.nat_paths.saturating_sub(nat_paths.len());
            self.ports_with_nat_paths.remove(&id);
        }
        self.update_storm(storm_scope(id, port), id, None);
        if let Some(record) = port.pod.and_then(|pod| self.pods.get_mut(pod)) {
            record.ports.remove(&id);
        }
        if port.recording {
            self.out.push(Change::Record { port: id, on: false });
        }
        // The kernel side counts a port before it is asked to.
        self.out.push(Change::Unwatch(id));
        self.netns.prune(id.netns);
    }

    /// Opens, changes or resolves the port's finding; says when to look again.
    fn judge_finding(
        &mut self,
        id: PortId,
        port: &mut Port,
        bindings: &Bindings,
        is_new_report: bool,
        now: BootTime,
    ) -> Option<BootTime> {
        let facts = self.facts(id, port, bindings);
        let code = verdict(&facts);
        let open = self.port_finding(id, port.id);
        let of = storm_scope(id, port);
        let stormed = self.storm(of).is_some_and(|storm| storm.ports.contains(&id));
        let due = bindings.first_at.after(self.options.grace);
        if code.is_some() && !open && !stormed && now < due {
            return Some(due);
        }
        let suppressed_by =
            code.and_then(|code| self.port_suppression((id, port.pod), bindings, (code, &facts), now));
        // What an operator knows of is no part of a storm, and none hides it.
        let is_open = suppressed_by.is_none();
        self.update_storm(of, id, code.filter(|_| is_open));
        let hidden = is_open && self.storm(of).is_some_and(|storm| storm.hides(id, self.options.storm_ports));
        let Some(code) = code.filter(|_| !hidden) else {
            self.resolve_port_finding(id, port);
            return None;
        };
        let assessment = Assessment { code, policy: facts.policy, suppressed_by };
        let raised = self.findings.raise(port.id, Subject::Port(id), assessment, bindings.first_at);
        let reported_at = self.findings.get(port.id).map_or(now, |record| record.reported_at);
        if raised == Raised::Same && !is_new_report {
            if !port.traffic.has_new_peers {
                return None;
            }
            if now < reported_at.after(REPORT_INTERVAL) {
                return Some(reported_at.after(REPORT_INTERVAL));
            }
        }
        port.traffic.has_new_peers = false;
        self.findings.mark_reported(port.id, now);
        if let Some(mut finding) = self.render_port_finding(id, port, now) {
            finding.opened_at = bindings.opened_at.filter(|_| raised == Raised::Opened);
            self.emit(Change::Finding(Arc::new(finding)));
        }
        None
    }

    /// What the verdict on a port is made of, as it stands.
    fn facts(&self, id: PortId, port: &Port, bindings: &Bindings) -> Facts {
        let host = self.netns.is_host(id.netns);
        let record = port.pod.and_then(|pod| self.pods.get(pod));
        let pod = match record {
            Some(record) if record.departed.is_some() => PodFact::Departed,
            Some(_) => PodFact::Known,
            None if host => PodFact::Host,
            None => PodFact::Unknown,
        };
        let in_debug_container = |record: &PodRecord| {
            let is_debug = |container: &Container| container.kind == ContainerKind::Ephemeral;
            record.pod.containers.iter().any(is_debug)
                && bindings
                    .processes()
                    .any(|process| is_ephemeral(container(&record.pod, process, &[]), process))
        };
        let exposure = bindings.exposure(host);
        let reach = match (id.protocol, exposure) {
            // Counted at the interface, but no socket on loopback takes what comes from there.
            (Protocol::Udp | Protocol::Sctp, Exposure::Loopback) => port.reach().min(Reach::Node),
            _ => port.reach(),
        };
        Facts {
            pod,
            declaration: port.status,
            exposure,
            policy: record.map_or(PolicyVerdict::Unknown, |record| {
                isolation::verdict(self.policies.known(), record.manifests(), id.protocol, id.port)
            }),
            reach,
            published: record
                .is_some_and(|record| declaration::has_host_port(&record.pod, id.protocol, id.port)),
            ephemeral: record.is_some_and(in_debug_container),
        }
    }

    fn port_finding(&self, id: PortId, finding: u64) -> bool {
        self.findings.get(finding).is_some_and(|record| record.subject == Subject::Port(id))
    }

    fn resolve_port_finding(&mut self, id: PortId, port: &Port) {
        if !self.port_finding(id, port.id) {
            return;
        }
        let finding = self.render_port_finding(id, port, BootTime(0));
        self.findings.resolve(port.id);
        if let Some(mut finding) = finding {
            finding.state = crate::model::finding::FindingState::Resolved;
            self.emit(Change::Finding(Arc::new(finding)));
        }
    }
}
