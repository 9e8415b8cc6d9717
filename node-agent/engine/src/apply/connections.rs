//! Applies recorded connections: attaches listener, pod and peer origin to each. There may be thousands a second, so
//! consecutive connections of one peer share one lookup.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::judge::nat_path::trace;
use crate::model::change::Change;
use crate::model::connection::{Connection, ConnectionFact, ConnectionList, ConnectionOpened};
use crate::model::fingerprint::{Owner, port_id};
use crate::model::identity::{BootTime, PortId};
use crate::model::options::RecordMode;
use crate::model::pod::PodRef;
use crate::model::traffic::{Dialled, Origin, Via, ViaKind};
use crate::state::netns::Netns;
use crate::state::port::Recording;
use crate::state::timers::Timer;

/// Age of an open connection after which its netns's connections are listed, and interval of the lists.
const LIST_INTERVAL: Duration = Duration::from_secs(60);

/// What connections from one address to one port have in common.
#[derive(Clone, Debug)]
struct ConnectionContext {
    port: PortId,
    address: IpAddr,
    local: IpAddr,
    accepted_by: Option<NonZeroU16>,
    listener_id: u64,
    origin: Origin,
    reference: Option<Arc<str>>,
    dialled: Option<Dialled>,
    via: Option<Arc<Via>>,
    pod: Option<Arc<PodRef>>,
}

impl ConnectionContext {
    /// Returns true if the connection shares this context.
    fn covers(&self, opened: &ConnectionOpened) -> bool {
        (self.port, self.address, self.dialled) == (opened.port, opened.remote.0, opened.dialled)
            && (self.local, self.accepted_by) == (opened.local, opened.accepted_by)
    }
}

impl Engine {
    /// Applies a batch of recorded connections.
    pub(crate) fn connections_recorded(&mut self, facts: &[ConnectionFact], now: BootTime) {
        let mut context: Option<ConnectionContext> = None;
        let mut has_opened = false;
        for fact in facts {
            let opened = match fact {
                ConnectionFact::Opened(opened) => opened,
                ConnectionFact::Closed(closed) => &closed.opened,
            };
            if self.is_own_call(opened) {
                continue;
            }
            let known = context.take().filter(|context| context.covers(opened));
            let is_known_end =
                matches!(fact, ConnectionFact::Closed(_)) && self.facts.connections.contains(opened.cookie);
            if known.is_none() && !is_known_end {
                match self.recording_of(opened) {
                    Recording::On => {}
                    Recording::Off => continue,
                    Recording::Undecided => {
                        if !self.facts.connections.undecided.keep(opened.port, fact, now) {
                            self.outbox.refuse("undecided-connections-full");
                        }
                        continue;
                    }
                }
            }
            let common = known.unwrap_or_else(|| {
                if let Some(dialled) = opened.dialled {
                    self.record_nat_path(opened.port, opened.remote.0, dialled, opened.at, now);
                }
                self.connection_context(opened)
            });
            self.record_connection(fact, &common);
            has_opened |= matches!(fact, ConnectionFact::Opened(_));
            // The end of a kept connection says nothing about whether others of the port are recorded.
            context = Some(common).filter(|_| !is_known_end);
        }
        // Queries show held connections already.
        self.outbox.touch();
        self.emit_held_connections(now);
        if has_opened {
            self.agenda.hasten(Timer::ConnectionLists, now.after(LIST_INTERVAL));
        }
    }

    fn record_connection(&mut self, fact: &ConnectionFact, common: &ConnectionContext) {
        match fact {
            ConnectionFact::Opened(opened) => {
                let reported = self.facts.connections.open(opened.cookie, connection(opened, common));
                self.emit_connections(reported);
            }
            ConnectionFact::Closed(closed) => {
                let end = (closed.at, closed.bytes_in, closed.bytes_out);
                let whole = || connection(&closed.opened, common);
                let reported = self.facts.connections.close(closed.opened.cookie, end, whole);
                self.emit_connections(reported.into_iter().flatten());
            }
        }
    }

    /// Returns true for a call over loopback, which has no record of its own unless all have one: only the pod itself can make
    /// it, and an exec probe makes one every few seconds. What a proxy in the pod passes on is somebody else's call.
    fn is_own_call(&self, opened: &ConnectionOpened) -> bool {
        self.options.record != RecordMode::All
            && opened.remote.0.is_loopback()
            && opened.dialled.is_none()
            && opened.accepted_by.is_none()
    }

    /// Returns whether connections like this one are recorded. Not decided for a port that is not known (yet).
    fn recording_of(&self, opened: &ConnectionOpened) -> Recording {
        if self.options.record == RecordMode::All {
            return Recording::On;
        }
        match self.ports.get(opened.port) {
            Some(port) => port.recording,
            None if self.facts.connections.undecided.closed(opened.port).is_some() => Recording::On,
            None => Recording::Undecided,
        }
    }

    /// Applies the facts of ports that are decided now.
    pub(crate) fn apply_decided_connections(&mut self, now: BootTime) -> bool {
        let Some(facts) = self.facts.connections.undecided.next_decided() else { return false };
        self.connections_recorded(&facts, now);
        true
    }

    /// Applies the kernel's list of connections: those that are not listed have ended.
    pub(crate) fn connections_listed(&mut self, list: &ConnectionList, now: BootTime) {
        self.facts.connections.list(list, now);
        self.outbox.touch();
        self.emit_held_connections(now);
    }

    /// Asks for the connections of each netns that has some which are open for long. A second agent, or a lost record,
    /// can leave one open for ever.
    pub(crate) fn request_connection_lists(&mut self, now: BootTime) {
        for netns in self.facts.connections.netns_with_open(LIST_INTERVAL, now) {
            if self.facts.netns.get(netns).is_none_or(Netns::is_gone) {
                // Nobody can look there any more.
                let list = ConnectionList { netns, at: now, connections: Vec::new() };
                self.facts.connections.list(&list, now);
            } else {
                self.outbox.push(Change::ListConnections(netns));
            }
        }
        self.emit_held_connections(now);
        if self.facts.connections.has_open() {
            self.agenda.set(Timer::ConnectionLists, Some(now.after(LIST_INTERVAL)));
        }
    }

    /// Reports the open connections whose hold is over, and those whose end was missed.
    pub(crate) fn emit_held_connections(&mut self, now: BootTime) {
        while let Some(connection) = self.facts.connections.next_overdue(now) {
            self.outbox.emit(Change::Connection(connection));
        }
        while let Some(connection) = self.facts.connections.next_missed(now) {
            self.outbox.refuse("connection-end-missed");
            self.outbox.emit(Change::Connection(connection));
        }
        let due = self.facts.connections.next_due();
        self.agenda.set(Timer::Connections, due);
    }

    fn emit_connections(&mut self, reported: impl IntoIterator<Item = Arc<Connection>>) {
        for connection in reported {
            self.outbox.emit(Change::Connection(connection));
        }
    }

    /// Looks up the listener, pod and origin of a connection.
    fn connection_context(&self, opened: &ConnectionOpened) -> ConnectionContext {
        let port = self.ports.get(opened.port);
        let closed = self.facts.connections.undecided.closed(opened.port).filter(|_| port.is_none());
        let pod = port.and_then(|port| port.pod);
        let serving = self.facts.serving(opened.port.netns, pod);
        let traced =
            opened.dialled.map(|dialled| trace(&self.facts, opened.port, pod, opened.remote.0, dialled));
        let by_address = || self.facts.addresses.origin(opened.remote.0, serving, &self.facts.pods);
        let (origin, reference, via) = match traced {
            Some(traced) => (traced.origin, traced.reference, Some(traced.via)),
            None => {
                let (origin, reference) = by_address();
                (origin, reference, way_in(opened).map(Arc::new))
            }
        };
        let unknown =
            || port_id(Owner::Netns(opened.port.netns), opened.port.protocol, opened.port.port.get());
        let listener_id = port.filter(|port| port.id != 0).map(|port| port.id);
        let record = pod.and_then(|pod| self.facts.pods.get(pod));
        let pod = record.map(|record| Arc::clone(&record.reference));
        ConnectionContext {
            port: opened.port,
            address: opened.remote.0,
            local: opened.local,
            accepted_by: opened.accepted_by,
            listener_id: listener_id.or(closed.map(|closed| closed.listener_id)).unwrap_or_else(unknown),
            origin,
            reference,
            dialled: opened.dialled,
            via,
            pod: pod.or_else(|| closed?.pod.clone()),
        }
    }
}

/// Describes what takes the connection inside the pod, if that is not a socket of the port.
fn way_in(opened: &ConnectionOpened) -> Option<Via> {
    Some(Via::inside(ViaKind::Proxy, (opened.local, opened.accepted_by?.get())))
}

fn connection(opened: &ConnectionOpened, context: &ConnectionContext) -> Connection {
    Connection {
        listener_id: context.listener_id,
        port: opened.port,
        local: opened.local,
        remote: opened.remote,
        origin: context.origin,
        reference: context.reference.clone(),
        via: context.via.clone(),
        opened_at: opened.at,
        closed_at: None,
        bytes_in: 0,
        bytes_out: 0,
        pod: context.pod.clone(),
    }
}
