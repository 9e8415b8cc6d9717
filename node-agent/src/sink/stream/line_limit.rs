//! Limits the lines of single connections per port and second, so that a busy port does not push the findings out of a log.
//! The connections that get no line are counted, and stay in `/v1/connections`.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use portolan_engine::model::connection::Connection;
use portolan_engine::model::identity::{BootTime, PortId};

/// Loss reason: connections that got no line because their port had too many in that second.
pub const LIMITED: &str = "connection-lines-limited";

const PERIOD: Duration = Duration::from_secs(1);
/// Maximum number of remembered open connections; then all are forgotten. The end of a connection that is not remembered takes
/// from the budget.
const MAX_OPEN: usize = 16_384;

/// The lines granted in the current second.
#[derive(Debug)]
pub struct LineLimit {
    per_port: u32,
    until: BootTime,
    /// Lines granted to each port. Only ports with a line are remembered.
    granted: HashMap<PortId, u32>,
    /// Hashes of the connections that have a line as open and none as ended.
    open: HashSet<u64>,
}

impl LineLimit {
    /// Creates a limit of `per_port` lines per port and second.
    #[must_use]
    pub fn new(per_port: u32) -> Self {
        Self { per_port, until: BootTime(0), granted: HashMap::new(), open: HashSet::new() }
    }

    /// Returns true if this report of a connection gets a line: always for the end of a connection whose beginning got one.
    pub fn grant(&mut self, connection: &Connection, now: BootTime) -> bool {
        let key = key(connection);
        if connection.closed_at.is_some() && self.open.remove(&key) {
            return true;
        }
        if now >= self.until {
            self.until = now.after(PERIOD);
            self.granted.clear();
        }
        let granted = self.granted.entry(connection.port).or_default();
        if *granted >= self.per_port {
            return false;
        }
        *granted += 1;
        if connection.closed_at.is_none() {
            if self.open.len() >= MAX_OPEN {
                // Some never end. The others take from the budget once more.
                self.open.clear();
            }
            self.open.insert(key);
        }
        true
    }
}

/// Identifies a connection in both of its reports.
fn key(connection: &Connection) -> u64 {
    let mut hasher = DefaultHasher::new();
    (connection.port, connection.local, connection.remote, connection.opened_at).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::num::NonZeroU16;

    use portolan_engine::model::identity::{NetnsId, Protocol};
    use portolan_engine::model::traffic::Origin;

    use super::*;

    fn connection(port: u16, remote_port: u16, closed: bool) -> Connection {
        Connection {
            listener_id: 1,
            port: PortId {
                netns: NetnsId(7),
                protocol: Protocol::Tcp,
                port: NonZeroU16::new(port).expect("not 0"),
            },
            local: IpAddr::from([10, 1, 0, 2]),
            remote: (IpAddr::from([10, 1, 0, 3]), remote_port),
            origin: Origin::Pod,
            reference: None,
            via: None,
            opened_at: BootTime(remote_port.into()),
            closed_at: closed.then_some(BootTime(99_999)),
            bytes_in: 0,
            bytes_out: 0,
            pod: None,
        }
    }

    #[test]
    fn a_port_gets_its_lines_of_the_second_and_other_ports_theirs() {
        let mut limit = LineLimit::new(3);
        let now = BootTime(5_000_000_000);
        let lines = |limit: &mut LineLimit, port, now| {
            (1..=600_u16).filter(|remote| limit.grant(&connection(port, *remote, true), now)).count()
        };
        assert_eq!(lines(&mut limit, 9090, now), 3);
        assert_eq!(lines(&mut limit, 9091, now), 3);
        assert_eq!(lines(&mut limit, 9090, now), 0, "the same second");
        assert_eq!(lines(&mut limit, 9090, now.after(PERIOD)), 3);
    }

    #[test]
    fn the_end_of_a_connection_whose_beginning_has_a_line_gets_one_too() {
        let mut limit = LineLimit::new(1);
        let now = BootTime(5_000_000_000);
        assert!(limit.grant(&connection(9090, 1, false), now));
        assert!(!limit.grant(&connection(9090, 2, false), now));
        assert!(limit.grant(&connection(9090, 1, true), now), "beyond the budget");
        assert!(!limit.grant(&connection(9090, 2, true), now), "nobody reads of its beginning");
        assert!(!limit.grant(&connection(9090, 1, true), now), "it ended once");
        assert!(limit.open.is_empty());
    }
}
