//! How many connections are looked up in a second: a bound for all, for one netns, for one port, and for one caller of it, so
//! that neither a pod nor a caller hides the others and a flood costs no more than a drop in it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId, PortId};

/// About 5 µs each.
const ALL: u32 = 1_000;
const OF_ONE_NETNS: u32 = ALL / 4;
const OF_ONE_PORT: u32 = ALL / 8;
const OF_ONE_CALLER: u32 = 32;
const PERIOD: Duration = Duration::from_secs(1);

/// What was granted in this second. Only grants are remembered, so that it stays small.
#[derive(Debug, Default)]
pub struct Budget {
    until: BootTime,
    all: u32,
    netns: HashMap<NetnsId, u32>,
    ports: HashMap<PortId, u32>,
    callers: HashMap<(PortId, IpAddr), u32>,
}

impl Budget {
    /// True if one more connection of this caller to this port may be looked up.
    pub fn grant(&mut self, port: PortId, caller: IpAddr, now: BootTime) -> bool {
        if now >= self.until {
            *self = Self { until: now.after(PERIOD), ..Self::default() };
        }
        let of_netns = self.netns.get(&port.netns).copied().unwrap_or_default();
        let of_port = self.ports.get(&port).copied().unwrap_or_default();
        let of_caller = self.callers.get(&(port, caller)).copied().unwrap_or_default();
        let is_spent = self.all >= ALL || of_netns >= OF_ONE_NETNS;
        if is_spent || of_port >= OF_ONE_PORT || of_caller >= OF_ONE_CALLER {
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

    fn granted(budget: &mut Budget, port: PortId, callers: u32, each: u32, now: BootTime) -> usize {
        let asks = (0..callers).flat_map(|caller| (0..each).map(move |_| IpAddr::from(caller.to_be_bytes())));
        asks.filter(|caller| budget.grant(port, *caller, now)).count()
    }

    #[test]
    fn neither_a_caller_nor_a_port_nor_a_pod_takes_it_all_and_the_next_second_is_new() {
        let mut budget = Budget::default();
        let now = BootTime(5_000_000_000);
        assert_eq!(granted(&mut budget, port(1, 1), 1, 10_000, now), 32);
        assert_eq!(granted(&mut budget, port(1, 1), 100, 100, now), 125 - 32);
        let others: usize = (2..50).map(|other| granted(&mut budget, port(1, other), 100, 100, now)).sum();
        assert_eq!(others, 250 - 125);
        let rest: usize = (2..50).map(|netns| granted(&mut budget, port(netns, 1), 100, 100, now)).sum();
        assert_eq!(rest, 1_000 - 250);
        assert!(budget.callers.len() <= 1_000);
        assert_eq!(granted(&mut budget, port(1, 1), 1, 10_000, now.after(PERIOD)), 32);
    }
}
