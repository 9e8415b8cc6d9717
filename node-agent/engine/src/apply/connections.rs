//! Applies recorded connections: attaches listener, pod and peer origin to each. There may be thousands a second, so
//! consecutive connections of one peer share one lookup.

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::Engine;
use crate::judge::nat_path::trace;
use crate::model::change::Change;
use crate::model::connection::{Connection, ConnectionFact, ConnectionList, ConnectionOpened};
use crate::model::fingerprint::{Owner, port_id};
use crate::model::identity::{BootTime, PortId};
use crate::model::pod::PodRef;
use crate::model::traffic::{Dialled, Origin, Via};
use crate::state::timers::Timer;

/// What connections from one address to one port have in common.
#[derive(Clone, Debug)]
struct ConnectionContext {
    port: PortId,
    address: IpAddr,
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
    }
}

impl Engine {
    /// Applies a batch of recorded connections.
    pub(crate) fn connections_recorded(&mut self, facts: &[ConnectionFact], now: BootTime) {
        let mut context: Option<ConnectionContext> = None;
        for fact in facts {
            let opened = match fact {
                ConnectionFact::Opened(opened) => opened,
                ConnectionFact::Closed(closed) => &closed.opened,
            };
            let known = context.filter(|context| context.covers(opened));
            let common = match known {
                Some(known) => known,
                None => {
                    if let Some(dialled) = opened.dialled {
                        self.record_nat_path(opened.port, opened.remote.0, dialled, opened.at, now);
                    }
                    self.connection_context(opened)
                }
            };
            match fact {
                ConnectionFact::Opened(opened) => {
                    let reported = self.facts.connections.open(opened.cookie, connection(opened, &common));
                    self.emit_connections(reported);
                }
                ConnectionFact::Closed(closed) => {
                    let end = (closed.at, closed.bytes_in, closed.bytes_out);
                    let whole = || connection(opened, &common);
                    let reported = self.facts.connections.close(opened.cookie, end, whole);
                    self.emit_connections(reported.into_iter().flatten());
                }
            }
            context = Some(common);
        }
        // Queries show held connections already.
        self.outbox.touch();
        self.emit_held_connections(now);
    }

    /// Applies the kernel's list of connections: those that are not listed have ended.
    pub(crate) fn connections_listed(&mut self, _list: &ConnectionList, _now: BootTime) {}

    /// Reports the open connections whose hold is over.
    pub(crate) fn emit_held_connections(&mut self, now: BootTime) {
        while let Some(connection) = self.facts.connections.next_overdue(now) {
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
        let pod = port.and_then(|port| port.pod);
        let serving = self.facts.serving(opened.port.netns, pod);
        let traced =
            opened.dialled.map(|dialled| trace(&self.facts, opened.port, pod, opened.remote.0, dialled));
        let by_address = || self.facts.addresses.origin(opened.remote.0, serving, &self.facts.pods);
        let (origin, reference, via) = match traced {
            Some(traced) => (traced.origin, traced.reference, Some(traced.via)),
            None => {
                let (origin, reference) = by_address();
                (origin, reference, None)
            }
        };
        let unknown =
            || port_id(Owner::Netns(opened.port.netns), opened.port.protocol, opened.port.port.get());
        ConnectionContext {
            port: opened.port,
            address: opened.remote.0,
            listener_id: port.filter(|port| port.id != 0).map_or_else(unknown, |port| port.id),
            origin,
            reference,
            dialled: opened.dialled,
            via,
            pod: pod.and_then(|pod| self.facts.pods.get(pod)).map(|record| Arc::clone(&record.reference)),
        }
    }
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
