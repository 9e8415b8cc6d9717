//! Real daemons of the distribution, one file each. Every case knows from the client's side what must be counted, and
//! ends with the kernel's own list of sockets.

mod dnsmasq;
mod haproxy;
mod java;
mod nginx;
mod quic;
mod socket_activation;
mod unbound;
mod wireguard;

use libtest_mimic::Trial;
use portolan_report::wire::{Listener, Report};

use super::case;
use crate::harness::agent::Agent;
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("daemons/nginx_reload", nginx::reload),
        case("daemons/nginx_graceful_quit", nginx::graceful_quit),
        case("daemons/haproxy_hands_its_sockets_over", haproxy::hands_its_sockets_over),
        case("daemons/dnsmasq_forwards_from_random_ports", dnsmasq::forwards_from_random_ports),
        case("daemons/unbound_asks_from_low_ports", unbound::asks_from_low_ports),
        case("daemons/quic_server_with_one_caller", quic::server_with_one_caller),
        case("daemons/quic_server_in_the_ephemeral_range", quic::server_in_the_ephemeral_range),
        case("daemons/java_thread_with_a_name_of_its_own", java::thread_with_a_name_of_its_own),
        case("daemons/systemd_socket_activation", socket_activation::holder_changes_with_the_exec),
        case("daemons/wireguard_in_user_space", wireguard::in_user_space),
    ]
}

/// Returns every line about a port of a role's pod, in order.
fn lines(world: &World, agent: &Agent, role: &str, port: u16) -> Vec<Listener> {
    let netns = world.network.netns(role);
    let about = |report: Report| match report {
        Report::Listener(item) if item.port == port && item.netns.name.as_ref() == Some(&netns) => Some(item),
        _ => None,
    };
    agent.reports().into_iter().filter_map(about).collect()
}
