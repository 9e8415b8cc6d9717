//! How recorded connections change the state: each gets its listener, its pod and its peer's origin when it is first
//! heard of. There may be thousands in a second, so what neighbours share is looked up once.

use std::net::IpAddr;
use std::sync::Arc;

use super::Engine;
use super::change::{Change, Connection, Origin, PodRef, Via};
use super::fingerprint::{Owner, port_id};
use super::identity::{BootTime, PortId};
use super::input::{ConnectionFact, ConnectionOpened, Dialled};
use super::origin::Serving;

/// What connections from one address to one port have in common.
#[derive(Clone, Debug)]
struct Ends {
    port: PortId,
    address: IpAddr,
    listener_id: u64,
    origin: Origin,
    reference: Option<Arc<str>>,
    dialled: Option<Dialled>,
    via: Option<Arc<Via>>,
    pod: Option<Arc<PodRef>>,
}

impl Ends {
    fn is_of(&self, opened: &ConnectionOpened) -> bool {
        (self.port, self.address, self.dialled) == (opened.port, opened.remote.0, opened.dialled)
    }
}

impl Engine {
    pub(super) fn connections_recorded(&mut self, facts: &[ConnectionFact], now: BootTime) {
        let mut ends: Option<Ends> = None;
        for fact in facts {
            let opened = match fact {
                ConnectionFact::Opened(opened) => opened,
                ConnectionFact::Closed(closed) => &closed.opened,
            };
            let known = ends.filter(|ends| ends.is_of(opened));
            let common = match known {
                Some(known) => known,
                None => {
                    if let Some(dialled) = opened.dialled {
                        self.came_by(opened.port, opened.remote.0, dialled, opened.at, now);
                    }
                    self.ends(opened)
                }
            };
            match fact {
                ConnectionFact::Opened(opened) => {
                    let told = self.connections.open(opened.cookie, connection(opened, &common));
                    self.tell_connections(told);
                }
                ConnectionFact::Closed(closed) => {
                    let end = (closed.at, closed.bytes_in, closed.bytes_out);
                    let whole = || connection(opened, &common);
                    let told = self.connections.close(opened.cookie, end, whole);
                    self.tell_connections(told.into_iter().flatten());
                }
            }
            ends = Some(common);
        }
        // What is held can be asked for already.
        self.renew();
        self.tell_held_connections(now);
    }

    pub(super) fn tell_held_connections(&mut self, now: BootTime) {
        while let Some(connection) = self.connections.next_overdue(now) {
            self.tell(Change::Connection(connection));
        }
        let due = self.connections.next_due();
        self.timers.set(super::timers::Timer::Connections, due);
    }

    fn tell_connections(&mut self, told: impl IntoIterator<Item = Arc<Connection>>) {
        for connection in told {
            self.tell(Change::Connection(connection));
        }
    }

    fn ends(&self, opened: &ConnectionOpened) -> Ends {
        let port = self.ports.get(&opened.port);
        let pod = port.and_then(|port| port.pod);
        let facts = self.netns.facts(opened.port.netns).map(Arc::as_ref);
        let traced = opened.dialled.map(|dialled| self.trace(opened.port, pod, opened.remote.0, dialled));
        let by_address = || self.addresses.origin(opened.remote.0, Serving { pod, facts }, &self.pods);
        let (origin, reference, via) = match traced {
            Some(traced) => (traced.origin, traced.reference, Some(traced.via)),
            None => {
                let (origin, reference) = by_address();
                (origin, reference, None)
            }
        };
        let unknown =
            || port_id(Owner::Netns(opened.port.netns), opened.port.protocol, opened.port.port.get());
        Ends {
            port: opened.port,
            address: opened.remote.0,
            listener_id: port.filter(|port| port.id != 0).map_or_else(unknown, |port| port.id),
            origin,
            reference,
            dialled: opened.dialled,
            via,
            pod: pod.and_then(|pod| self.pods.get(pod)).map(|record| Arc::clone(&record.reference)),
        }
    }
}

fn connection(opened: &ConnectionOpened, ends: &Ends) -> Connection {
    Connection {
        listener_id: ends.listener_id,
        port: opened.port,
        local: opened.local,
        remote: opened.remote,
        origin: ends.origin,
        reference: ends.reference.clone(),
        via: ends.via.clone(),
        opened_at: opened.at,
        closed_at: None,
        bytes_in: 0,
        bytes_out: 0,
        pod: ends.pod.clone(),
    }
}
