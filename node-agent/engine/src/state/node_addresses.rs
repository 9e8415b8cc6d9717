//! The addresses of the node itself, however many, and the networks around them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses and networks of the host's netns, each with the number of interfaces' addresses that make it.
#[derive(Debug, Default)]
pub(crate) struct NodeAddresses {
    addresses: HashMap<IpAddr, usize>,
    networks: HashMap<IpNet, usize>,
    /// Lengths of the prefixes in `networks`, by family (true: IPv4).
    lengths: HashMap<(bool, u8), usize>,
}

impl NodeAddresses {
    /// Replaces a list of addresses. Costs little if the lists are nearly the same, in the same order.
    pub(crate) fn replace(&mut self, before: &[IpNet], now: &[IpNet]) {
        let same = before.iter().zip(now).take_while(|(a, b)| a == b).count();
        let (before, now) = (before.get(same..).unwrap_or_default(), now.get(same..).unwrap_or_default());
        let same = before.iter().rev().zip(now.iter().rev()).take_while(|(a, b)| a == b).count();
        for net in before.iter().rev().skip(same) {
            self.change(*net, false);
        }
        for net in now.iter().rev().skip(same) {
            self.change(*net, true);
        }
    }

    /// Returns true for an address of the node.
    #[must_use]
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Returns true for an address in a network of one of the node's interfaces.
    #[must_use]
    pub(crate) fn is_neighbour(&self, address: IpAddr) -> bool {
        let lengths = self.lengths.keys().filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        let mut networks = lengths.filter_map(|(_, length)| IpNet::new(address, *length).ok());
        networks.any(|network| self.networks.contains_key(&network.trunc()))
    }

    fn change(&mut self, net: IpNet, is_added: bool) {
        if net.addr().is_loopback() {
            return;
        }
        tally(&mut self.addresses, net.addr(), is_added);
        // A network of one address has no neighbours, and one of all addresses says nothing.
        if net.prefix_len() > 0 && net.prefix_len() < net.max_prefix_len() {
            tally(&mut self.networks, net.trunc(), is_added);
            tally(&mut self.lengths, (net.addr().is_ipv4(), net.prefix_len()), is_added);
        }
    }
}

fn tally<K: Eq + Hash + Copy>(counts: &mut HashMap<K, usize>, key: K, is_added: bool) {
    let count = counts.entry(key).or_default();
    *count = if is_added { count.saturating_add(1) } else { count.saturating_sub(1) };
    if *count == 0 {
        counts.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_while_an_interface_has_it() {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().expect("a network")).collect()
        };
        let mut node = NodeAddresses::default();
        let first = nets(&["127.0.0.1/8", "10.0.0.1/24", "10.0.0.1/32", "fd00::1/64", "192.0.2.7/0"]);
        node.replace(&[], &first);
        let second = nets(&["127.0.0.1/8", "10.0.0.1/32", "fd00::1/64", "192.0.2.7/0"]);
        let ip = |text: &str| text.parse().expect("an address");
        assert!(node.contains(ip("10.0.0.1")) && node.is_neighbour(ip("10.0.0.9")));
        assert!(node.is_neighbour(ip("fd00::9")) && !node.is_neighbour(ip("fd00:0:0:1::9")));
        node.replace(&first, &second);
        assert!(node.contains(ip("10.0.0.1")) && !node.is_neighbour(ip("10.0.0.9")));
        assert!(!node.contains(ip("127.0.0.1")) && !node.is_neighbour(ip("8.8.8.8")));
        node.replace(&second, &[]);
        assert!(node.addresses.is_empty() && node.networks.is_empty() && node.lengths.is_empty());
    }
}
