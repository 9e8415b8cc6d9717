//! How recorded connections change the state: each gets its listener, its pod and its peer's origin when it is first
//! heard of. There may be thousands in a second, so what neighbours share is looked up once.

use std::net::IpAddr;
use std::sync::Arc;

use super::Engine;
use super::change::{Change, Connection, Origin, PodRef};
use super::fingerprint::{Owner, port_id};
use super::identity::{BootTime, PortId};
use super::input::{ConnectionFact, ConnectionOpened};
use super::origin::Serving;

/// What connections from one address to one port have in common.
#[derive(Clone, Debug)]
struct Ends {
    port: PortId,
    address: IpAddr,
    listener_id: u64,
    origin: Origin,
    reference: Option<Arc<str>>,
    pod: Option<Arc<PodRef>>,
}

impl Engine {
    pub(super) fn connections_recorded(&mut self, facts: &[ConnectionFact], now: BootTime) {
        let mut ends: Option<Ends> = None;
        for fact in facts {
            let opened = match fact {
                ConnectionFact::Opened(opened) => opened,
                ConnectionFact::Closed(closed) => &closed.opened,
            };
            let known = ends.filter(|ends| ends.port == opened.port && ends.address == opened.remote.0);
            let common = known.unwrap_or_else(|| self.ends(opened));
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
        let (origin, reference) = self.addresses.origin(opened.remote.0, Serving { pod, facts }, &self.pods);
        let unknown =
            || port_id(Owner::Netns(opened.port.netns), opened.port.protocol, opened.port.port.get());
        Ends {
            port: opened.port,
            address: opened.remote.0,
            listener_id: port.filter(|port| port.id != 0).map_or_else(unknown, |port| port.id),
            origin,
            reference,
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
        opened_at: opened.at,
        closed_at: None,
        bytes_in: 0,
        bytes_out: 0,
        pod: ends.pod.clone(),
    }
}
