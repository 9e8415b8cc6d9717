//! Applies opened, closed and scanned sockets to their ports.

use crate::engine::Engine;
use crate::model::identity::{BootTime, NetnsId, PortId, Protocol, SocketCookie};
use crate::model::process::Holder;
use crate::model::socket::{NetnsScan, OpenedSocket};
use crate::state::bindings::Bindings;
use crate::state::port::Recording;
use crate::state::quota::Usage;
use crate::state::sockets::{SocketFact, SocketView};

impl Engine {
    /// Applies a socket that began to serve.
    pub(crate) fn socket_opened(&mut self, opened: OpenedSocket, now: BootTime) {
        let netns = opened.port.netns;
        let holder = opened.process.map_or(Holder::Unknown, Holder::Process);
        let held_by = self.facts.netns.entry(netns).share_holder(holder);
        let fact = SocketFact {
            at: opened.at,
            port: opened.port,
            address: opened.address,
            v6_only: opened.v6_only,
            on_loopback: opened.on_loopback,
        };
        let Some(socket) = self.facts.sockets.entry(opened.cookie) else {
            self.refuse_port("engine-sockets-full", opened.port);
            return;
        };
        socket.open(fact, held_by);
        self.settle_socket(opened.cookie, netns, now);
        self.facts.netns.prune(netns);
    }

    /// Applies a socket that ceased to serve.
    pub(crate) fn socket_closed(
        &mut self,
        netns: NetnsId,
        cookie: SocketCookie,
        at: BootTime,
        now: BootTime,
    ) {
        let Some(socket) = self.facts.sockets.entry(cookie) else { return };
        socket.close(at);
        self.settle_socket(cookie, netns, now);
    }

    /// Applies a scan: every listed socket serves, and an older socket that is not listed is closed.
    pub(crate) fn netns_scanned(&mut self, scan: NetnsScan, now: BootTime) {
        let first = self.facts.netns.entry(scan.netns).scan(scan.at);
        let known = self.ports.of_netns(scan.netns);
        let cookies: Vec<SocketCookie> =
            known.iter().filter_map(|id| self.ports.get(*id)).flat_map(|port| port.sockets.iter()).collect();
        for socket in scan.sockets {
            let held_by = self.facts.netns.entry(scan.netns).share_holder(socket.holder);
            let fact = SocketFact {
                at: scan.at,
                port: socket.port,
                address: socket.address,
                v6_only: socket.v6_only,
                on_loopback: socket.on_loopback,
            };
            let Some(entry) = self.facts.sockets.entry(socket.cookie) else {
                self.refuse_port("engine-sockets-full", socket.port);
                continue;
            };
            entry.list(fact, held_by);
            self.settle_socket(socket.cookie, scan.netns, now);
        }
        for cookie in cookies {
            if self.facts.sockets.get(cookie).is_none_or(|socket| !socket.was_listed_at(scan.at)) {
                self.settle_socket(cookie, scan.netns, now);
            }
        }
        if first {
            self.check_pods_of(scan.netns, now);
        }
    }

    /// Brings a socket's port in line with what is now known about the socket.
    pub(crate) fn settle_socket(&mut self, cookie: SocketCookie, netns: NetnsId, now: BootTime) {
        let floor = self.facts.netns.floor(netns);
        let Some(socket) = self.facts.sockets.get(cookie) else { return };
        let (view, counted_in, ended) = (socket.view(floor), socket.counted_in, socket.ended_at(floor));
        let next = view.map(|view| view.port);
        if let Some(before) = counted_in.filter(|before| Some(*before) != next) {
            self.leave_port(before, cookie, ended);
        }
        match view {
            Some(view) => self.join_port(view, cookie, now),
            None => {
                self.record_short_lived(cookie, floor, ended, now);
                self.facts.sockets.keep_tombstone(cookie, netns, now);
            }
        }
    }

    /// Counts an open socket in its port.
    fn join_port(&mut self, view: SocketView, cookie: SocketCookie, now: BootTime) {
        let id = view.port;
        let counted = self.facts.sockets.get(cookie).is_some_and(|socket| socket.counted_in == Some(id));
        if !counted && !self.admit_socket(id, now) {
            self.facts.sockets.discard(cookie);
            return;
        }
        let floor = self.facts.netns.floor(id.netns);
        let beyond = !view.is_loopback();
        let mut was_beyond = false;
        if let Some(socket) = self.facts.sockets.get_mut(cookie) {
            socket.counted_in = Some(id);
            was_beyond = std::mem::replace(&mut socket.beyond_loopback, beyond);
            socket.reported_open.raise(view.opened_at);
        }
        if !counted {
            // Listings count the socket, although no verdict depends on the number.
            self.outbox.touch();
        }
        let was_closing = self.ports.index_mut().end_closing(id);
        if let Some(port) = self.ports.get_mut(id) {
            port.sockets.insert(cookie);
            port.dismissed &= counted;
            // The kernel side records the connections of every socket that begins to listen.
            let is_recorded_again = !counted && port.recording == Recording::Off;
            if is_recorded_again && id.protocol == Protocol::Tcp {
                port.recording = Recording::Undecided;
                self.agenda.judge(id);
            }
            port.beyond_loopback = port.beyond_loopback.saturating_add(beyond.into());
            port.beyond_loopback = port.beyond_loopback.saturating_sub(was_beyond.into());
            let before = port.bindings.take();
            port.refresh(floor, &self.facts.sockets, self.options.grace);
            // A port that is not reported yet may wait for just one more scan.
            if was_closing || port.bindings != before || port.reported.is_none() {
                self.agenda.judge(id);
            }
        }
    }

    /// Stops counting a socket in a port.
    fn leave_port(&mut self, id: PortId, cookie: SocketCookie, ended: BootTime) {
        let floor = self.facts.netns.floor(id.netns);
        let mut began = None;
        let mut was_beyond = false;
        if let Some(socket) = self.facts.sockets.get_mut(cookie) {
            socket.counted_in = None;
            began = socket.began_at();
            was_beyond = std::mem::take(&mut socket.beyond_loopback);
            self.facts.netns.refund(id.netns, Usage { sockets: 1, ..Usage::default() });
        }
        if let Some((port, index)) = self.ports.split(id) {
            port.sockets.remove(cookie);
            port.beyond_loopback = port.beyond_loopback.saturating_sub(was_beyond.into());
            port.age.record_closed(began.unwrap_or(ended), ended, self.options.grace);
            port.refresh(floor, &self.facts.sockets, self.options.grace);
            if port.sockets.is_empty() {
                port.closed_at.raise(Some(ended));
                index.begin_closing(id);
            }
            self.agenda.judge(id);
        }
    }

    /// Opens and closes the port of a socket that closed before it was counted.
    fn record_short_lived(&mut self, cookie: SocketCookie, floor: BootTime, ended: BootTime, now: BootTime) {
        let Some(socket) = self.facts.sockets.get_mut(cookie) else { return };
        let Some(view) = socket.short_lived(floor) else { return };
        socket.reported_open = view.opened_at.into();
        let bindings = Bindings::of(&[(view, socket.held_by().clone())], 0, false);
        if !self.admit_port(view.port, now) {
            return;
        }
        let Some((port, index)) = self.ports.split(view.port) else { return };
        if !port.sockets.is_empty() || port.reported.is_some() {
            let since = port.age.record_closed(view.first_at, ended, self.options.grace);
            if let Some(bindings) = &mut port.bindings {
                bindings.first_at = since;
            }
            self.agenda.judge(view.port);
            return;
        }
        port.bindings = bindings;
        if let Some(bindings) = &mut port.bindings {
            bindings.first_at = port.age.continue_from(bindings.first_at, self.options.grace);
        }
        port.age.mark_closed(ended);
        port.closed_at = ended.into();
        index.begin_closing(view.port);
        self.agenda.judge(view.port);
    }
}
