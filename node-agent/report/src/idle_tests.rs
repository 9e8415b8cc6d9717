//! The rules of idle ports, one test for each.

use super::*;
use crate::test_objects;
use crate::wire::Via;

/// Returns the time so many days before the agent's answer, which is at 2026-03-04T12:00:00Z.
fn days_ago(days: i64) -> Timestamp {
    "2026-03-04T12:00:00Z".parse::<Timestamp>().unwrap() - SignedDuration::from_hours(24 * days)
}

/// Returns a peer that called so many days ago.
fn peer(origin: &str, days: i64) -> Peer {
    let mut peer = test_objects::finding(80, "high", "web").traffic.peers.swap_remove(0);
    origin.clone_into(&mut peer.origin);
    (peer.connections, peer.packets) = (3, 30);
    peer.last_seen = days_ago(days).to_string();
    peer
}

/// Returns a port that is older than the agent, counted for 30 days, and called by these peers.
fn port(peers: Vec<Peer>) -> Listener {
    let mut listener = test_objects::listener(80, "web");
    let sum = |of: fn(&Peer) -> u64| peers.iter().map(of).sum();
    listener.traffic = Traffic {
        since: Some(days_ago(30).to_string()),
        connections: sum(|peer| peer.connections),
        packets: sum(|peer| peer.packets),
        last_seen: peers.iter().map(|peer| peer.last_seen.clone()).max(),
        peers,
        ..Traffic::default()
    };
    listener
}

fn of(listener: &Listener) -> Usage {
    usage(listener, Period::parse("7d").unwrap())
}

fn idle(last_call: LastCall) -> Usage {
    Usage::Idle(Idle { last_call, node_calls: NodeCalls::default() })
}

#[test]
fn a_port_that_nobody_called_is_idle_since_the_agent_counts() {
    assert_eq!(of(&port(vec![])), idle(LastCall::NeverSince(days_ago(30))));
    assert_eq!(usage(&port(vec![]), Period::Counted), idle(LastCall::NeverSince(days_ago(30))));
}

#[test]
fn the_newest_call_of_any_caller_counts() {
    for origin in ["pod", "service", "external", "same-pod"] {
        assert_eq!(of(&port(vec![peer("pod", 20), peer(origin, 3)])), Usage::Called, "{origin}");
        let idle_port = port(vec![peer("pod", 20), peer(origin, 9)]);
        assert_eq!(of(&idle_port), idle(LastCall::At(days_ago(9))), "{origin}");
        assert_eq!(usage(&idle_port, Period::Counted), Usage::Called, "{origin}");
    }
    assert_eq!(of(&port(vec![peer("pod", 7)])), Usage::Called, "the period includes its first moment");
}

#[test]
fn calls_of_the_node_are_no_calls_and_are_shown() {
    let Usage::Idle(found) = of(&port(vec![peer("node", 0), peer("pod", 9), peer("node", 1)])) else {
        panic!("the probes of the kubelet made the port called")
    };
    assert_eq!(found.last_call, LastCall::At(days_ago(9)));
    assert_eq!(found.node_calls, NodeCalls { count: 6, last: Some(days_ago(0)) });
    let probed = port(vec![Peer { connections: 0, ..peer("node", 0) }]);
    let Usage::Idle(found) = usage(&probed, Period::Counted) else { panic!("it was called") };
    assert_eq!(found.node_calls.count, 30, "packets where no connections are counted");
}

#[test]
fn a_caller_through_an_address_of_the_node_is_a_caller() {
    let via = Via {
        address: "10.0.0.1".to_owned(),
        port: 30_080,
        kind: "nodePort".to_owned(),
        reference: None,
        client: Some("203.0.113.9".to_owned()),
    };
    assert_eq!(of(&port(vec![Peer { via: Some(via), ..peer("node", 0) }])), Usage::Called);
}

#[test]
fn callers_that_are_not_listed_may_have_called_unless_the_totals_say_otherwise() {
    let truncated = |change: fn(&mut Traffic)| {
        let mut listener = port(vec![peer("pod", 9), peer("node", 0)]);
        listener.traffic.truncated = true;
        change(&mut listener.traffic);
        of(&listener)
    };
    let unknown = Usage::Unknown(Reason::CallersNotListed);
    assert_eq!(truncated(|traffic| traffic.connections += 1), unknown);
    assert_eq!(truncated(|traffic| traffic.packets += 1), unknown);
    let listed = truncated(|_| ());
    assert!(
        matches!(&listed, Usage::Idle(idle) if idle.last_call == LastCall::At(days_ago(9))),
        "{listed:?}"
    );
    let quiet = truncated(|traffic| {
        traffic.connections += 1;
        traffic.last_seen = Some(days_ago(8).to_string());
    });
    let latest = LastCall::AtOrBefore(days_ago(8));
    assert!(matches!(&quiet, Usage::Idle(idle) if idle.last_call == latest), "{quiet:?}");
    let mut late = port(vec![]);
    (late.traffic.connections, late.traffic.last_seen) = (1, Some(days_ago(0).to_string()));
    assert_eq!(of(&late), unknown, "more connections than callers");
    late.traffic.last_seen = None;
    assert_eq!(of(&late), unknown, "nobody knows when");
}

#[test]
fn nothing_is_claimed_about_the_time_before_the_agent_or_the_port() {
    let mut listener = port(vec![]);
    listener.traffic.since = Some(days_ago(2).to_string());
    assert_eq!(of(&listener), Usage::Unknown(Reason::CountedLater(days_ago(2))));
    assert_eq!(usage(&listener, Period::Counted), idle(LastCall::NeverSince(days_ago(2))));
    listener.opened_at = Some(days_ago(2).to_string());
    assert_eq!(of(&listener), Usage::Unknown(Reason::OpenedLater));
    assert_eq!(usage(&listener, Period::Counted), idle(LastCall::NeverSince(days_ago(2))));
    listener.traffic.peers = vec![peer("pod", 1)];
    assert_eq!(of(&listener), Usage::Called, "what is called needs no reason");
    let mut of_the_first_moment = port(vec![]);
    of_the_first_moment.traffic.since = Some(days_ago(7).to_string());
    of_the_first_moment.opened_at = Some(days_ago(7).to_string());
    assert_eq!(of(&of_the_first_moment), idle(LastCall::NeverSince(days_ago(7))));
}

#[test]
fn a_call_of_an_earlier_run_was_before_the_agent_counts() {
    let mut listener = port(vec![]);
    listener.traffic.called_earlier = Some("external".to_owned());
    assert_eq!(of(&listener), idle(LastCall::Before(days_ago(30), "external".to_owned())));
    listener.traffic.since = Some(days_ago(2).to_string());
    assert_eq!(of(&listener), Usage::Unknown(Reason::CountedLater(days_ago(2))));
}

#[test]
fn a_connection_without_counted_packets_may_still_be_in_use() {
    let listener = port(vec![Peer { packets: 0, ..peer("same-pod", 9) }]);
    assert_eq!(of(&listener), Usage::Unknown(Reason::MayBeInUse));
    let probed = port(vec![Peer { packets: 0, ..peer("node", 9) }]);
    assert!(matches!(of(&probed), Usage::Idle(_)), "the node's own connections are not asked for");
}

#[test]
fn ports_that_are_not_counted_or_not_proven_to_serve_are_unknown() {
    let mut listener = port(vec![]);
    listener.unproven = true;
    assert_eq!(of(&listener), Usage::Unknown(Reason::Unproven));
    let mut listener = port(vec![]);
    listener.traffic.since = None;
    assert_eq!(of(&listener), Usage::Unknown(Reason::NotCounted));
    listener.traffic.since = Some("yesterday".to_owned());
    assert_eq!(of(&listener), Usage::Unknown(Reason::UnreadableTime));
    let unreadable = port(vec![Peer { last_seen: "lately".to_owned(), ..peer("pod", 9) }]);
    assert_eq!(of(&unreadable), Usage::Unknown(Reason::UnreadableTime));
}

#[test]
fn the_clock_of_the_agent_decides() {
    let mut listener = port(vec![peer("pod", 9)]);
    listener.envelope.time = days_ago(5).to_string();
    assert_eq!(of(&listener), Usage::Called, "four days before the answer");
    listener.envelope.time = "now".to_owned();
    assert_eq!(of(&listener), Usage::Unknown(Reason::UnreadableTime));
}

#[test]
fn a_period_is_a_number_with_a_unit() {
    for (text, seconds) in
        [("90s", 90), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600), ("3650d", LONGEST)]
    {
        assert_eq!(Period::parse(text), Ok(Period::Last(SignedDuration::from_secs(seconds))), "{text}");
    }
    for text in
        ["", "7", "d", "0d", "-1d", "+1d", "7 d", "7dd", "1.5h", "3651d", "99999999999999999999d", "7é"]
    {
        assert!(Period::parse(text).is_err(), "{text}");
    }
}
