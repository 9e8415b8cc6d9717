//! How each kind of input changes the state; what follows from it is `judge`'s.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::attribution::runs_in;
use super::change::{Change, Loss};
use super::identity::{BootTime, NetnsId, PodUid, PortId, Protocol, SocketCookie};
use super::input::{NetnsFacts, NetnsScan, OpenedSocket, PortDelta, TrafficDrain};
use super::origin::Serving;
use super::pod::{Extent, Pod};
use super::pod_index::{PodChange, PodChanges, PodKey};
use super::port::Face;
use super::room::Taken;
use super::socket_table::{Served, SocketView};
use super::timers::Timer;
use super::traffic::PeerLimits;

/// What does not fit is told at most this often.
const REFUSED_RETELL: Duration = Duration::from_secs(10);

impl Engine {
    pub(super) fn socket_opened(&mut self, opened: OpenedSocket, now: BootTime) {
        let netns = opened.port.netns;
        let process = self.netns.entry(netns).share_process(opened.process);
        let fact =
            Served { at: opened.at, port: opened.port, address: opened.address, v6_only: opened.v6_only };
        let Some(socket) = self.sockets.entry(opened.cookie) else {
            self.refuse_port("engine-sockets-full", opened.port);
            return;
        };
        socket.open(fact, process);
        self.settle_socket(opened.cookie, netns, now);
        self.netns.prune(netns);
    }

    pub(super) fn socket_closed(
        &mut self,
        netns: NetnsId,
        cookie: SocketCookie,
        at: BootTime,
        now: BootTime,
    ) {
        let Some(socket) = self.sockets.entry(cookie) else { return };
        socket.close(at);
        self.settle_socket(cookie, netns, now);
    }

    pub(super) fn netns_scanned(&mut self, scan: NetnsScan, now: BootTime) {
        let first = self.netns.entry(scan.netns).scan(scan.at);
        let known = self.ports_of(scan.netns);
        let cookies: Vec<SocketCookie> =
            known.iter().filter_map(|id| self.ports.get(id)).flat_map(|port| port.sockets.iter()).collect();
        for socket in scan.sockets {
            let process = self.netns.entry(scan.netns).share_process(socket.process);
            let fact =
                Served { at: scan.at, port: socket.port, address: socket.address, v6_only: socket.v6_only };
            let Some(entry) = self.sockets.entry(socket.cookie) else {
                self.refuse_port("engine-sockets-full", socket.port);
                continue;
            };
            entry.list(fact, process);
            self.settle_socket(socket.cookie, scan.netns, now);
        }
        for cookie in cookies {
            if self.sockets.get(cookie).is_none_or(|socket| !socket.was_listed_at(scan.at)) {
                self.settle_socket(cookie, scan.netns, now);
            }
        }
        if first {
            self.check_pods_of(scan.netns, now);
        }
    }

    pub(super) fn netns_seen(&mut self, facts: NetnsFacts, at: BootTime, now: BootTime) {
        let id = facts.netns;
        let Some(before) = self.netns.learn(facts, at) else { return };
        if let Some(before) = &before {
            self.addresses.remove_netns(before);
        }
        if let Some(facts) = self.netns.facts(id).filter(|_| !self.netns.is_gone(id)) {
            self.addresses.add_netns(facts);
            self.pods.learn_paths(id, &facts.paths);
            if facts.is_host && before.is_none_or(|before| before.addresses != facts.addresses) {
                self.node_changed();
            }
        }
        self.settle_home(id);
        self.dirty.extend(self.ports_of(id));
        self.check_pods_of(id, now);
    }

    pub(super) fn netns_gone(&mut self, id: NetnsId, at: BootTime, now: BootTime) {
        if self.netns.end(id, at, now)
            && let Some(facts) = self.netns.facts(id)
        {
            self.addresses.remove_netns(facts);
        }
        for port in self.ports_of(id) {
            let cookies: Vec<SocketCookie> =
                self.ports.get(&port).map(|port| port.sockets.iter().collect()).unwrap_or_default();
            for cookie in cookies {
                self.settle_socket(cookie, id, now);
            }
        }
        self.check_pods_of(id, now);
        if self.netns.is_gone(id) {
            self.pods.learn_paths(id, &[]);
            self.settle_home(id);
        }
    }

    pub(super) fn pods_listed(&mut self, source: &'static str, pods: Vec<Pod>, now: BootTime) {
        let changes = self.pods.replace(source, pods, now);
        self.settle_pods(changes, now);
    }

    pub(super) fn pod_changed(&mut self, source: &'static str, pod: Pod, now: BootTime) {
        let changes = self.pods.change(source, pod, now);
        self.settle_pods(changes, now);
    }

    pub(super) fn pod_gone(&mut self, source: &'static str, uid: &PodUid, now: BootTime) {
        let changes = self.pods.remove(source, uid, now);
        self.settle_pods(changes, now);
    }

    fn settle_pods(&mut self, changes: PodChanges, now: BootTime) {
        if !changes.changed.is_empty() || !changes.departed.is_empty() {
            // Findings without a port show pods too.
            self.renew();
        }
        for key in &changes.departed {
            let Some(record) = self.pods.get(*key) else { continue };
            self.addresses.retire_pod(*key, &record.pod, now);
            self.dirty.extend(record.ports.iter().copied());
        }
        let mut differing = Vec::with_capacity(changes.changed.len());
        for PodChange { key, before, extent } in changes.changed {
            match extent {
                Extent::Readiness => {}
                // Whom they mean may be the same as before.
                Extent::Labels if !self.select_for(key) => continue,
                Extent::Labels => {
                    let ports = self.pods.get(key).map(|record| &record.ports);
                    self.dirty.extend(ports.into_iter().flatten().copied());
                }
                Extent::More => self.settle_pod(key, before.as_deref()),
            }
            differing.push(key);
        }
        for key in differing.into_iter().chain(changes.departed) {
            self.check_pod(key, now);
        }
    }

    /// Brings what follows from a pod in line with what it is now.
    fn settle_pod(&mut self, key: PodKey, before: Option<&Pod>) {
        if let Some(before) = before {
            self.addresses.remove_pod(key, before);
        }
        let was_in = before.and_then(|before| self.netns.at_path(before.netns_path.as_deref()?));
        for netns in was_in.into_iter().chain(self.pods.netns(key, &self.netns)) {
            self.settle_home(netns);
        }
        self.select_for(key);
        let Some(record) = self.pods.get(key) else { return };
        self.addresses.add_pod(key, &record.pod);
        self.dirty.extend(record.ports.iter().copied());
        let waiting = self.unattributed.iter().copied();
        let mine: Vec<PortId> = waiting.filter(|id| self.may_be_of(*id, &record.pod)).collect();
        self.dirty.extend(mine);
        if let Some(netns) = self.pods.netns(key, &self.netns) {
            self.dirty.extend(self.ports_of(netns));
        }
    }

    /// True unless the process that serves this port certainly runs in another pod.
    fn may_be_of(&self, id: PortId, pod: &Pod) -> bool {
        let Some(face) = self.ports.get(&id).and_then(|port| port.face.as_ref()) else { return false };
        let uid = pod.uid.0.as_str();
        face.processes().any(|process| {
            let Some(cgroup) = process.and_then(|process| process.cgroup.as_deref()) else { return false };
            cgroup.contains(uid)
                || cgroup.contains(&uid.replace('-', "_"))
                || pod.containers.iter().any(|container| runs_in(process, container))
        })
    }

    pub(super) fn traffic_drained(&mut self, drain: TrafficDrain, now: BootTime) {
        self.last_drain = self.last_drain.max(Some(drain.at));
        for (id, delta) in &drain.ports {
            self.count(*id, delta, drain.at, now);
        }
        self.dirty.extend(self.closing.iter().copied());
    }

    fn count(&mut self, id: PortId, delta: &PortDelta, at: BootTime, now: BootTime) {
        if !self.make_room(id, now) {
            return;
        }
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.dismissed = false;
        let facts = self.netns.facts(id.netns).map(Arc::as_ref);
        let serving = Serving { pod: port.pod, facts };
        let (addresses, pods) = (&self.addresses, &self.pods);
        let ways = port.ways.as_deref();
        let resolve = |peer| {
            let by_address = addresses.origin(peer, serving, pods);
            ways.map_or_else(|| by_address.clone(), |ways| ways.place(peer, by_address.clone()))
        };
        let share = self.netns.share_left(id.netns, self.options.max_peers, |taken| taken.peers);
        let limits = PeerLimits {
            per_listener: self.options.max_peers_per_listener,
            left: self.options.max_peers.saturating_sub(self.peers).min(share),
            hold: self.options.attribution_hold,
        };
        let kept = port.traffic.peer_count();
        let reach = port.traffic.reach();
        let by_origin = port.traffic.absorb(id.protocol, delta, at, limits, &resolve);
        // A full list may lose a peer for each new one, never more.
        let more = port.traffic.peer_count().saturating_sub(kept);
        self.peers = self.peers.saturating_add(more);
        self.netns.take(id.netns, Taken { peers: more, ..Taken::default() });
        self.totals.count_connections(port.status, delta.connections, &by_origin);
        let moved = reach != port.traffic.reach() || port.traffic.news || port.traffic.settle_at().is_some();
        if moved || port.printed.is_none() {
            self.dirty.insert(id);
        }
        self.renew();
    }

    pub(super) fn lost(&mut self, reason: &'static str, count: u64, recovered: bool) {
        if !recovered {
            self.totals.lose(reason, count);
        }
        self.tell(Change::Loss(Loss { reason, count, recovered }));
    }

    /// Something did not fit: counted at once, told a moment later with all that did not fit in that moment.
    pub(super) fn refuse(&mut self, reason: &'static str) {
        self.refuse_many(reason, 1);
    }

    pub(super) fn refuse_many(&mut self, reason: &'static str, more: usize) {
        if more > 0 {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.totals.lose(reason, more);
            let count = self.refused.entry(reason).or_default();
            *count = count.saturating_add(more);
        }
    }

    /// Tells what did not fit, unless that was done a moment ago: then it is told later.
    pub(super) fn tell_refused(&mut self, now: BootTime) {
        if self.refused.is_empty() {
            return;
        }
        let due = self.refused_told_at.map_or(now, |told| told.after(REFUSED_RETELL));
        if now < due {
            return self.timers.set(Timer::Refused, Some(due));
        }
        self.refused_told_at = Some(now);
        for (reason, count) in std::mem::take(&mut self.refused) {
            self.tell(Change::Loss(Loss { reason, count, recovered: false }));
        }
    }

    /// Brings a socket's port in line with what is now known of the socket.
    fn settle_socket(&mut self, cookie: SocketCookie, netns: NetnsId, now: BootTime) {
        let floor = self.netns.floor(netns);
        let Some(socket) = self.sockets.get(cookie) else { return };
        let (view, counted_in, ended) = (socket.view(floor), socket.counted_in, socket.ended_at(floor));
        let next = view.map(|view| view.port);
        if let Some(before) = counted_in.filter(|before| Some(*before) != next) {
            self.leave(before, cookie, ended);
        }
        match view {
            Some(view) => self.join(view, cookie, now),
            None => {
                self.tell_short_lived(cookie, floor, ended, now);
                self.sockets.bury(cookie, netns, now);
            }
        }
    }

    fn join(&mut self, view: SocketView, cookie: SocketCookie, now: BootTime) {
        let id = view.port;
        let counted = self.sockets.get(cookie).is_some_and(|socket| socket.counted_in == Some(id));
        if !counted && !self.make_room_for_socket(id, now) {
            self.sockets.discard(cookie);
            return;
        }
        let floor = self.netns.floor(id.netns);
        let beyond = !view.address.is_loopback();
        let mut was_beyond = false;
        if let Some(socket) = self.sockets.get_mut(cookie) {
            socket.counted_in = Some(id);
            was_beyond = std::mem::replace(&mut socket.beyond_loopback, beyond);
            socket.told = socket.told.max(view.opened_at);
        }
        if !counted {
            // One more socket is seen, though nothing is judged by it.
            self.renew();
        }
        if let Some(port) = self.ports.get_mut(&id) {
            port.sockets.insert(cookie);
            port.dismissed &= counted;
            port.beyond_loopback += usize::from(beyond);
            port.beyond_loopback = port.beyond_loopback.saturating_sub(usize::from(was_beyond));
            let before = port.face.take();
            port.refresh(floor, &self.sockets, self.options.grace);
            // What is not told yet may wait for just one more scan.
            if self.closing.remove(&id) || port.face != before || port.printed.is_none() {
                self.dirty.insert(id);
            }
        }
    }

    fn leave(&mut self, id: PortId, cookie: SocketCookie, ended: BootTime) {
        let floor = self.netns.floor(id.netns);
        let mut began = None;
        let mut was_beyond = false;
        if let Some(socket) = self.sockets.get_mut(cookie) {
            socket.counted_in = None;
            began = socket.began_at();
            was_beyond = std::mem::take(&mut socket.beyond_loopback);
            self.netns.give_back(id.netns, Taken { sockets: 1, ..Taken::default() });
        }
        if let Some(port) = self.ports.get_mut(&id) {
            port.sockets.remove(cookie);
            port.beyond_loopback = port.beyond_loopback.saturating_sub(usize::from(was_beyond));
            port.tenure.learn(began.unwrap_or(ended), ended, self.options.grace);
            port.refresh(floor, &self.sockets, self.options.grace);
            if port.sockets.is_empty() {
                port.closed_at = port.closed_at.max(Some(ended));
                self.closing.insert(id);
            }
            self.dirty.insert(id);
        }
    }

    /// A socket that came and went before it was looked at: its port opens and closes.
    fn tell_short_lived(&mut self, cookie: SocketCookie, floor: BootTime, ended: BootTime, now: BootTime) {
        let Some(socket) = self.sockets.get_mut(cookie) else { return };
        let Some(view) = socket.short_lived(floor) else { return };
        socket.told = view.opened_at;
        let face = Face::of(&[(view, socket.process())], 0);
        if !self.make_room(view.port, now) {
            return;
        }
        let Some(port) = self.ports.get_mut(&view.port) else { return };
        if !port.sockets.is_empty() || port.printed.is_some() {
            let since = port.tenure.learn(view.first_at, ended, self.options.grace);
            if let Some(face) = &mut port.face {
                face.first_at = since;
            }
            self.dirty.insert(view.port);
            return;
        }
        port.face = face;
        if let Some(face) = &mut port.face {
            face.first_at = port.tenure.go_on(face.first_at, self.options.grace);
        }
        port.tenure.leave(ended);
        port.closed_at = Some(ended);
        self.closing.insert(view.port);
        self.dirty.insert(view.port);
    }

    /// The ports of one netns that are kept.
    pub(super) fn ports_of(&self, netns: NetnsId) -> Vec<PortId> {
        let from = PortId { netns, protocol: Protocol::Tcp, port: NonZeroU16::MIN };
        let to = PortId { netns, protocol: Protocol::Sctp, port: NonZeroU16::MAX };
        self.ports.range(from..=to).map(|(id, _)| *id).collect()
    }
}
