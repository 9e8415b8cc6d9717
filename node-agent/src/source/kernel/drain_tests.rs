//! Deltas of totals that the programs move between flows and maps meanwhile.

use super::*;

const PORT: PortKey = PortKey { netns_cookie: 1, port: 80, protocol: 6, reserved: [0; 5] };
const PEER: PeerKey = PeerKey { port: PORT, address: [7; 16] };

fn counted(packets: u64) -> PortCounters {
    PortCounters { packets, bytes: 100 * packets, ..PortCounters::default() }
}

fn pending(cpu: usize, generation: u32, packets: u64) -> Pending {
    Pending { cpu, key: PEER, generation, peer_first_boot_ns: 9, packets, bytes: 100 * packets }
}

#[test]
fn a_port_is_the_sum_of_its_cpus() {
    let one =
        PortCounters { attempts: 1, connections: 2, packets: 3, bytes: 4, generation: 7, peers_created: 5 };
    let bytes = [one.as_bytes(), PortCounters::default().as_bytes(), one.as_bytes()].concat();
    let twice =
        PortCounters { attempts: 2, connections: 4, packets: 6, bytes: 8, generation: 0, peers_created: 10 };
    assert_eq!(sum(&bytes), twice);
    assert_eq!(generations(&bytes), [(0, 7), (2, 7)]);
}

#[test]
fn only_what_is_pending_for_this_entry_is_added() {
    let entry = Entry { counters: counted(10), generations: vec![(0, 4), (1, 5)] };
    let flows = [pending(0, 4, 1), pending(1, 5, 2), pending(1, 4, 40), pending(2, 5, 80)];
    assert_eq!(with_pending(&PORT, &entry, &flows), counted(13));
    assert_eq!(with_pending(&PortKey { port: 81, ..PORT }, &entry, &flows), counted(10));
}

#[test]
fn only_what_is_pending_for_this_peer_is_added() {
    let peer = PeerCounters { first_boot_ns: 9, packets: 10, ..PeerCounters::default() };
    let flows = [pending(0, 4, 1), Pending { peer_first_boot_ns: 8, ..pending(0, 4, 40) }];
    assert_eq!(with_pending_peer(&PEER, peer, &flows).packets, 11);
}

#[test]
fn counts_in_transit_are_reported_once() {
    let (mut ports, mut reported) = (HashMap::new(), 0);
    // The counts are pending, in between, in the map, and one more arrives.
    for (now, sum) in [(5, 5), (3, 5), (5, 5), (6, 6)] {
        let mut drain = TrafficDrain::default();
        report_port(&mut ports, &mut drain, PORT, counted(now));
        reported += drain.ports.values().map(|port| port.packets).sum::<u64>();
        assert_eq!(reported, sum);
    }
}

#[test]
fn what_was_pending_when_a_port_was_removed_is_reported() {
    let mut drain = Drain::new(1);
    let entry = Entry { counters: counted(10), generations: vec![(0, 4)] };
    drain.removed.push(Removed { key: PORT, entry, reported: counted(12) });
    let mut reported = TrafficDrain::default();
    drain.report_removed(&[pending(0, 4, 5), pending(0, 6, 40)], &mut reported);
    assert_eq!(reported.ports.values().map(|port| port.packets).sum::<u64>(), 3);
}

#[test]
fn a_peer_that_did_not_move_has_no_delta() {
    let seen = PeerCounters { first_boot_ns: 9, connections: 3, ..PeerCounters::default() };
    assert_eq!(peer_delta(&PEER, &seen, &seen, false), None);
    let more = PeerCounters { connections: 5, ..seen };
    assert_eq!(peer_delta(&PEER, &more, &seen, false).map(|delta| delta.connections), Some(2));
}

#[test]
fn a_peer_that_was_made_again_begins_anew() {
    let (mut peers, ports) = (PeerMemory::default(), HashMap::from([(PORT, counted(0))]));
    let mut reported = |birth, packets| {
        let mut drain = TrafficDrain::default();
        let now = PeerCounters { first_boot_ns: birth, packets, ..PeerCounters::default() };
        assert!(!report_peer(&mut peers, &ports, &mut drain, PEER, now, 1));
        drain.ports.values().flat_map(|port| &port.peers).map(|peer| peer.packets).collect::<Vec<_>>()
    };
    assert_eq!(reported(1, 5), [5]);
    assert!(reported(1, 4).is_empty());
    assert_eq!(reported(2, 4), [4]);
}

#[test]
fn an_unknown_port_is_taken_after_the_grace_time_and_only_then() {
    let mut drain = Drain::new(1);
    let other = PortKey { port: 81, ..PORT };
    drain.ports = HashMap::from([(PORT, counted(0)), (other, counted(0))]);
    let known = port_id(&other).expect("a port");
    let second = |n: u64| BootTime(n * 1_000_000_000);
    let mut unknown_ports = |at| drain.take_unknown_ports(|port| port == known, at).len();
    assert_eq!([1, 10, 11].map(second).map(&mut unknown_ports), [0, 0, 1]);
    // The port became known, and was lost again.
    assert!(drain.take_unknown_ports(|_| true, second(12)).is_empty());
    let found = [13, 22, 23].map(|n| drain.take_unknown_ports(|port| port == known, second(n)));
    assert_eq!(found, [vec![], vec![], vec![port_id(&PORT).expect("a port")]]);
}

/// Reports of one UDP peer of `port`, drain by drain: packets, and whether it was addressed first.
fn reports_of(port: u16, address: [u8; 16], drains: &[PeerCounters]) -> Vec<Vec<(u64, bool)>> {
    let key = PeerKey { port: PortKey { port, protocol: 17, ..PORT }, address };
    let (mut peers, ports) = (PeerMemory::default(), HashMap::from([(key.port, counted(0))]));
    let report = |now: &PeerCounters| {
        let mut drain = TrafficDrain::default();
        assert!(!report_peer(&mut peers, &ports, &mut drain, key, *now, 1));
        let deltas = drain.ports.values().flat_map(|port| &port.peers);
        deltas.map(|peer| (peer.packets, peer.addressed_first)).collect()
    };
    drains.iter().map(report).collect()
}

#[test]
fn a_peer_that_was_only_addressed_is_reported_once() {
    let addressed = PeerCounters { first_boot_ns: 9, direction: PEER_ADDRESSED, ..PeerCounters::default() };
    let answered = PeerCounters { packets: 2, ..addressed };
    let reports = reports_of(53, [7; 16], &[addressed, addressed, answered, answered]);
    assert_eq!(reports, [vec![(0, true)], vec![], vec![(2, true)], vec![]]);
}

#[test]
fn an_unproven_peer_is_reported_with_all_its_traffic_once_it_is_proven() {
    let unproven = |packets| PeerCounters {
        first_boot_ns: 9,
        packets,
        direction: PEER_UNPROVEN,
        ..PeerCounters::default()
    };
    for (direction, addressed_first) in [(PEER_CALLED, false), (PEER_ADDRESSED, true)] {
        let proven = PeerCounters { direction, ..unproven(5) };
        let reports = reports_of(40_000, [7; 16], &[unproven(0), unproven(3), proven, proven]);
        assert_eq!(reports, [vec![], vec![], vec![(5, addressed_first)], vec![]]);
    }
}

#[test]
fn an_unproven_peer_of_a_low_port_calls_it_after_a_while() {
    let at = |seconds: u64| BootTime(seconds * 1_000_000_000);
    let key = |port| PeerKey { port: PortKey { port, protocol: 17, ..PORT }, address: [7; 16] };
    let peer = PeerCounters {
        first_boot_ns: at(1).0,
        packets: 1,
        direction: PEER_UNPROVEN,
        ..PeerCounters::default()
    };
    assert_eq!(assumed_direction(&key(53), &peer, at(10)), PEER_UNPROVEN);
    assert_eq!(assumed_direction(&key(53), &peer, at(11)), PEER_CALLED);
    assert_eq!(assumed_direction(&key(53), &PeerCounters { packets: 0, ..peer }, at(11)), PEER_UNPROVEN);
    assert_eq!(assumed_direction(&key(51_820), &peer, at(11)), PEER_UNPROVEN, "a client may have that port");
}

#[test]
fn the_port_that_accepts_is_told_with_the_peer() {
    let now =
        PeerCounters { first_boot_ns: 9, connections: 1, accepted_port: 8080, ..PeerCounters::default() };
    let fresh = PeerCounters { first_boot_ns: 9, ..PeerCounters::default() };
    let delta = peer_delta(&PEER, &now, &fresh, true).expect("new");
    assert_eq!(delta.accepted_by.map(NonZeroU16::get), Some(8080));
}
