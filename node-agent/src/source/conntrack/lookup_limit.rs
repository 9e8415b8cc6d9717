//! Limits the number of connection lookups per second: in all, per netns, per port, and per caller of a port. A pod or
//! a caller that floods neither hides the others nor costs more than its share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId, PortId};

/// Maximum number of lookups per second in all; each takes about 5 µs.
const IN_ALL: u32 = 1_000;
const PER_NETNS: u32 = IN_ALL / 4;
const PER_PORT: u32 = IN_ALL / 8;
const PER_CALLER: u32 = 32;
const PERIOD: Duration = Duration::from_secs(1);

/// The lookups granted in the current second. Only grants are remembered, which bounds the maps.
#[derive(Debug, Default)]
pub struct LookupLimit {
    until: BootTime,
    all: u32,
    netns: HashMap<NetnsId, u32>,
    ports: HashMap<PortId, u32>,
    callers: HashMap<(PortId, IpAddr), u32>,
}

impl LookupLimit {
    /// Counts one lookup of a connection from `caller` to `port`. Returns false if a limit is reached.
    pub fn grant(&mut self, port: PortId, caller: IpAddr, now: BootTime) -> bool {
        if now >= self.until {
            *self = Self { until: now.after(PERIOD), ..Self::default() };
        }
        let of_netns = self.netns.get(&port.netns).copied().unwrap_or_default();
        let of_port = self.ports.get(&port).copied().unwrap_or_default();
        let of_caller = self.callers.get(&(port, caller)).copied().unwrap_or_default();
        let is_spent = self.all >= IN_ALL || of_netns >= PER_NETNS;
        if is_spent || of_port >= PER_PORT || of_caller >= PER_CALLER {
            return false;
        }
        self.all += 1;
        self.netns.insert(port.netns, of_netns + 1);
        self.ports.insert(port, of_port + 1);
        self.callers.insert((port, caller), of_caller + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use portolan_engine::model::identity::Protocol;

    fn port(netns: u64, port: u16) -> PortId {
        let port = NonZeroU16::new(port).expect("a port");
        PortId { netns: NetnsId(netns), protocol: Protocol::Tcp, port }
    }

    fn granted(limit: &mut LookupLimit, port: PortId, callers: u32, each: u32, now: BootTime) -> usize {
        let asks = (0..callers).flat_map(|caller| (0..each).map(move |_| IpAddr::from(caller.to_be_bytes())));
        asks.filter(|caller| limit.grant(port, *caller, now)).count()
    }

    #[test]
    fn neither_a_caller_nor_a_port_nor_a_pod_takes_it_all_and_the_next_second_is_new() {
        let mut limit = LookupLimit::default();
        let now = BootTime(5_000_000_000);
        assert_eq!(granted(&mut limit, port(1, 1), 1, 10_000, now), 32);
        assert_eq!(granted(&mut limit, port(1, 1), 100, 100, now), 125 - 32);
        let others: usize = (2..50).map(|other| granted(&mut limit, port(1, other), 100, 100, now)).sum();
        assert_eq!(others, 250 - 125);
        let rest: usize = (2..50).map(|netns| granted(&mut limit, port(netns, 1), 100, 100, now)).sum();
        assert_eq!(rest, 1_000 - 250);
        assert!(limit.callers.len() <= 1_000);
        assert_eq!(granted(&mut limit, port(1, 1), 1, 10_000, now.after(PERIOD)), 32);
    }
}
