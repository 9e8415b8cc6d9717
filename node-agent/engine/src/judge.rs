//! The one place that looks at a port and decides what to say of it. It depends on the state alone, not on what led
//! there: that is why the order of inputs does not matter.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::attribution::{Attribution, attribute, container, is_ephemeral};
use super::change::{Change, DeclarationStatus, Explanation, Exposure, ListenerState, PolicyVerdict};
use super::crowd::CrowdOf;
use super::declaration::{self, Served};
use super::evaluate::{Facts, PodFact, verdict};
use super::explanation::explanations;
use super::finding_store::{RETELL, Raised, Stand, Subject};
use super::fingerprint::{Fnv, Owner, port_id};
use super::identity::{BootTime, PortId, Protocol};
use super::isolation;
use super::options::RecordMode;
use super::origin::Serving;
use super::pod::{Container, ContainerKind};
use super::pod_index::PodKey;
use super::pod_record::PodRecord;
use super::port::{Face, Port};
use super::room::Taken;
use super::timers::Timer;
use super::traffic::Reach;

/// An ephemeral UDP port is looked at again after this long.
const EPHEMERAL_PROOF: Duration = Duration::from_secs(5);
/// How long a close waits for its last traffic.
const LAST_TRAFFIC: Duration = Duration::from_secs(3);

/// What is to happen to a port after it was judged.
enum Fate {
    /// Keep it, and look again then.
    Keep(Option<BootTime>),
    Drop,
}

/// Whose findings are counted together with this port's.
fn crowd_of(id: PortId, port: &Port) -> CrowdOf {
    port.pod.map_or(CrowdOf::Netns(id.netns), CrowdOf::Pod)
}

impl Engine {
    pub(super) fn judge(&mut self, id: PortId, now: BootTime) {
        let Some(mut port) = self.ports.remove(&id) else { return };
        self.totals.judged = self.totals.judged.saturating_add(1);
        self.attribute_port(id, &mut port);
        self.settle_origins(id, &mut port, now);
        match self.decide(id, &mut port, now) {
            Fate::Keep(again) => {
                let again = again.into_iter().chain(port.settle_at()).min();
                self.timers.set(Timer::Port(id), again);
                self.ports.insert(id, port);
            }
            Fate::Drop => self.release(id, &port),
        }
    }

    fn decide(&mut self, id: PortId, port: &mut Port, now: BootTime) -> Fate {
        let hold = port.heard_at.after(self.options.attribution_hold);
        let Some(face) = port.face.clone() else {
            return if now < hold { Fate::Keep(Some(hold)) } else { Fate::Drop };
        };
        if self.is_ignored(id, port) {
            self.hide(id, port);
            return self.ignore(id, port, hold, now);
        }
        self.watch(id, port);
        if self.is_candidate(id, port, &face) {
            self.hide(id, port);
            return if port.sockets.is_empty() { Fate::Drop } else { Fate::Keep(None) };
        }
        // Before its netns is known, a pod's main netns cannot be told from a further one in it: the id would change.
        let unsure = port.pod.is_none() || self.netns.facts(id.netns).is_none();
        if port.printed.is_none() && unsure && !self.netns.is_host(id.netns) && now < hold {
            return Fate::Keep(Some(hold));
        }
        let news = self.print(id, port);
        self.check_expected_port(id, port, now);
        if port.sockets.is_empty() {
            return self.close(id, port, now);
        }
        Fate::Keep(self.judge_finding(id, port, &face, news, now))
    }

    /// The node's own sockets are nobody's, unless asked for.
    fn is_ignored(&self, id: PortId, port: &Port) -> bool {
        port.pod.is_none() && self.netns.is_host(id.netns) && !self.options.include_host
    }

    /// Counts nothing for it, unless a pod may still claim it.
    fn ignore(&mut self, id: PortId, port: &mut Port, hold: BootTime, now: BootTime) -> Fate {
        if port.sockets.is_empty() {
            return Fate::Drop;
        }
        if now < hold {
            return Fate::Keep(Some(hold));
        }
        if std::mem::take(&mut port.recording) {
            self.out.push(Change::Record { port: id, on: false });
        }
        let was_watched = std::mem::take(&mut port.watched);
        if !std::mem::replace(&mut port.dismissed, true) || was_watched {
            self.out.push(Change::Unwatch(id));
        }
        Fate::Keep(None)
    }

    /// An explicit bind to an ephemeral UDP port is mostly a client: it counts once it stayed and several peers sent to it.
    fn is_candidate(&self, id: PortId, port: &mut Port, face: &Face) -> bool {
        let Some(facts) = self.netns.facts(id.netns) else { return false };
        let (first, last) = facts.ephemeral_ports;
        let ephemeral = id.protocol == Protocol::Udp && (first..=last).contains(&id.port.get());
        let expected = matches!(port.status, DeclarationStatus::Declared | DeclarationStatus::Explained);
        if !ephemeral || port.serves || expected {
            return false;
        }
        let stayed = port.scanned_at.is_some_and(|at| at >= face.first_at.after(EPHEMERAL_PROOF));
        port.serves = stayed && port.traffic.is_called_by_several();
        !port.serves
    }

    fn attribute_port(&mut self, id: PortId, port: &mut Port) {
        let facts = self.netns.facts(id.netns).map(Arc::as_ref);
        let processes = port.face.iter().flat_map(Face::processes).chain([None]);
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
        if port.id != next && port.id != 0 && port.printed.is_some() {
            self.withdraw(id, port);
            port.printed = None;
        }
        if port.pod != pod {
            self.move_port(id, port, pod);
        }
        port.id = next;
        port.status = pod.and_then(|pod| self.pods.get(pod)).map_or(DeclarationStatus::Unknown, |record| {
            let served = Served { protocol: id.protocol, port: id.port, process: port.resident() };
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
        self.enrol(crowd_of(id, port), id, None);
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
            if let Some(ways) = port.ways.as_deref_mut() {
                ways.trace_again();
            }
            let resolve = |peer| self.place(peer, serving, port.ways.as_deref());
            port.traffic.resolve_again(id.protocol, &resolve);
        }
    }

    fn settle_origins(&mut self, id: PortId, port: &mut Port, now: BootTime) {
        let serving = Serving { pod: port.pod, facts: self.netns.facts(id.netns).map(Arc::as_ref) };
        self.settle_ways(id, port, now);
        let ways = port.ways.as_deref();
        let resolve = |peer| self.place(peer, serving, ways);
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
    fn print(&mut self, id: PortId, port: &mut Port) -> bool {
        let mark = self.mark(id, port);
        // A close is one line of its own: what it changes is not printed before it.
        if port.printed == Some(mark) || (port.printed.is_some() && port.sockets.is_empty()) {
            return false;
        }
        if port.printed.is_none() && port.pod.is_none() && !self.netns.is_host(id.netns) {
            self.totals.unattributed = self.totals.unattributed.saturating_add(1);
        }
        port.printed = Some(mark);
        self.ids.insert(port.id, id);
        let listener = self.render_listener(id, port, ListenerState::Open);
        self.tell(Change::Listener(Arc::new(listener)));
        true
    }

    /// A mark of all that makes the listener worth printing again.
    fn mark(&self, id: PortId, port: &Port) -> u64 {
        let mut fnv = Fnv::default();
        if let Some(record) = port.pod.and_then(|pod| self.pods.get(pod)) {
            let process = port.resident();
            let declaring = declaration::declaring(&record.pod, id.protocol, id.port);
            container(&record.pod, process, &declaring).map(|container| &container.name).hash(&mut fnv);
            declaring.iter().for_each(|container| container.name.hash(&mut fnv));
            if port.status == DeclarationStatus::Explained {
                let served = Served { protocol: id.protocol, port: id.port, process };
                for why in explanations(record.manifests(), served).map(Explanation::from) {
                    why.reference.hash(&mut fnv);
                }
            }
        }
        port.mark(fnv.finish())
    }

    fn close(&mut self, id: PortId, port: &Port, now: BootTime) -> Fate {
        let closed_at = port.closed_at.unwrap_or(now);
        let drained = self.last_drain.is_some_and(|drain| drain >= closed_at);
        let patience = closed_at.after(LAST_TRAFFIC);
        if self.options.traffic_drained && !drained && now < patience {
            return Fate::Keep(Some(patience));
        }
        if let Some(face) = &port.face
            && face.opened_at.is_some()
            && closed_at.since(face.first_at) < self.options.grace
        {
            self.totals.short_lived = self.totals.short_lived.saturating_add(1);
        }
        if !self.tenures.keep(id, port.tenure, now.after(self.options.grace)) {
            self.refuse("engine-closed-ports-full");
        }
        self.withdraw(id, port);
        Fate::Drop
    }

    /// Ends what was told under the port's present id.
    fn withdraw(&mut self, id: PortId, port: &Port) {
        self.resolve_port_finding(id, port);
        let listener = self.render_listener(id, port, ListenerState::Closed);
        self.tell(Change::Listener(Arc::new(listener)));
        if self.ids.get(&port.id) == Some(&id) {
            self.ids.remove(&port.id);
        }
    }

    /// Takes back what was told of a port that is nothing to tell of any more.
    fn hide(&mut self, id: PortId, port: &mut Port) {
        self.enrol(crowd_of(id, port), id, None);
        if port.printed.is_some() {
            self.withdraw(id, port);
            port.printed = None;
        }
    }

    fn release(&mut self, id: PortId, port: &Port) {
        self.timers.set(Timer::Port(id), None);
        self.unattributed.remove(&id);
        self.closing.remove(&id);
        let peers = port.traffic.peer_count();
        self.peers = self.peers.saturating_sub(peers);
        self.netns.give_back(id.netns, Taken { ports: 1, peers, ..Taken::default() });
        if let Some(ways) = &port.ways {
            self.ways = self.ways.saturating_sub(ways.len());
            self.entered.remove(&id);
        }
        self.enrol(crowd_of(id, port), id, None);
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
        face: &Face,
        news: bool,
        now: BootTime,
    ) -> Option<BootTime> {
        let facts = self.facts(id, port, face);
        let code = verdict(&facts);
        let open = self.port_finding(id, port.id);
        let of = crowd_of(id, port);
        let stormed = self.crowd(of).is_some_and(|crowd| crowd.ports.contains(&id));
        let due = face.first_at.after(self.options.grace);
        if code.is_some() && !open && !stormed && now < due {
            return Some(due);
        }
        let suppressed_by =
            code.and_then(|code| self.port_suppression((id, port.pod), face, (code, &facts), now));
        // What an operator knows of is no part of a storm, and none hides it.
        let is_open = suppressed_by.is_none();
        self.enrol(of, id, code.filter(|_| is_open));
        let hidden = is_open && self.crowd(of).is_some_and(|crowd| crowd.hides(id, self.options.storm_ports));
        let Some(code) = code.filter(|_| !hidden) else {
            self.resolve_port_finding(id, port);
            return None;
        };
        let stand = Stand { code, policy: facts.policy, suppressed_by };
        let raised = self.findings.raise(port.id, Subject::Port(id), stand, face.first_at);
        let told_at = self.findings.get(port.id).map_or(now, |record| record.told_at);
        if raised == Raised::Same && !news {
            if !port.traffic.news {
                return None;
            }
            if now < told_at.after(RETELL) {
                return Some(told_at.after(RETELL));
            }
        }
        port.traffic.news = false;
        self.findings.tell(port.id, now);
        if let Some(mut finding) = self.render_port_finding(id, port, now) {
            finding.opened_at = face.opened_at.filter(|_| raised == Raised::Opened);
            self.tell(Change::Finding(Arc::new(finding)));
        }
        None
    }

    /// What the verdict on a port is made of, as it stands.
    fn facts(&self, id: PortId, port: &Port, face: &Face) -> Facts {
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
                && face.processes().any(|process| is_ephemeral(container(&record.pod, process, &[]), process))
        };
        let exposure = face.exposure(host);
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
            finding.state = super::change::FindingState::Resolved;
            self.tell(Change::Finding(Arc::new(finding)));
        }
    }
}
