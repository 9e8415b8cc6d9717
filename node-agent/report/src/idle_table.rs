//! Table of idle ports, and the notes on the ports that are left out of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, Unit};

use crate::cells::{self, NONE};
use crate::escape::terminal;
use crate::idle::{Idle, LastCall, NodeCalls, Period, Reason};
use crate::table::{Width, lay_out};
use crate::wire::Listener;

/// Formats idle ports as a table, sorted by pod and port.
#[must_use]
pub fn table(ports: &[(Listener, Idle)], width: Width) -> String {
    let mut sorted: Vec<&(Listener, Idle)> = ports.iter().collect();
    sorted.sort_by_cached_key(|(l, _)| (cells::location(l), l.protocol.clone(), l.port, l.id.clone()));
    let mut header =
        vec!["PROTOCOL", "PORT", "POD", "PROCESS", "DECLARATION", "LAST CALL", "NODE CALLS", "OPEN SINCE"];
    header.extend(width.columns(&["ADDRESSES", "CONTAINER", "WORKLOAD", "DECLARED-BY", "ID"]));
    lay_out(&header, sorted.into_iter().map(|(listener, idle)| row(listener, idle, width)))
}

fn row(listener: &Listener, idle: &Idle, width: Width) -> Vec<String> {
    let now = &listener.envelope.time;
    let mut row = vec![
        listener.protocol.clone(),
        listener.port.to_string(),
        cells::location(listener),
        cells::server(listener),
        cells::declaration(listener),
        last_call(&idle.last_call, now),
        node_calls(idle.node_calls, now),
        open_since(listener),
    ];
    row.extend(width.cells(&listener.envelope.node, || {
        let workload = listener.pod.as_ref().and_then(|pod| pod.workload.as_ref());
        vec![
            cells::list(&listener.addresses),
            listener.container.as_ref().map_or_else(|| NONE.to_owned(), |container| container.name.clone()),
            workload.map_or_else(|| NONE.to_owned(), |w| format!("{}/{}", w.kind, w.name)),
            cells::list(&listener.declaration.declared_by),
            listener.id.clone(),
        ]
    }));
    row
}

fn last_call(call: &LastCall, now: &str) -> String {
    let ago = |at: &Timestamp| format!("{} ago", cells::age(&at.to_string(), now));
    match call {
        LastCall::NeverSince(since) => format!("never since {}", to_second(*since)),
        LastCall::Before(since, reach) => format!("before {} ({reach})", to_second(*since)),
        LastCall::At(at) => ago(at),
        LastCall::AtOrBefore(at) => format!("{} or earlier", ago(at)),
    }
}

fn node_calls(calls: NodeCalls, now: &str) -> String {
    match calls.last {
        None => NONE.to_owned(),
        Some(last) => format!("{}, {} ago", calls.count, cells::age(&last.to_string(), now)),
    }
}

fn open_since(listener: &Listener) -> String {
    let shown = |text: &String| text.parse().map_or_else(|_| text.clone(), to_second);
    match (&listener.opened_at, &listener.traffic.since) {
        (Some(opened), _) => shown(opened),
        (None, Some(since)) => format!("before {}", shown(since)),
        (None, None) => NONE.to_owned(),
    }
}

/// Formats a time without fractions of a second, rounded down.
fn to_second(at: Timestamp) -> String {
    let round = jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc);
    at.round(round).unwrap_or(at).to_string()
}

/// Returns what to say instead of an empty table.
#[must_use]
pub fn none_idle(period: Period) -> String {
    match period {
        Period::Counted => "No open port is known to be idle since its agent counts.".to_owned(),
        Period::Last(length) => format!("No open port is known to be idle for {}.", length_text(length)),
    }
}

/// Returns one line for each reason why ports are left out, and for each node that counts for too short a time.
#[must_use]
pub fn notes(left_out: &[(String, Reason)], period: Period) -> Vec<String> {
    // The latest time is true of all ports of a node.
    let mut counted_later: BTreeMap<&str, (usize, Timestamp)> = BTreeMap::new();
    let mut others: BTreeMap<Reason, usize> = BTreeMap::new();
    for (node, reason) in left_out {
        if let Reason::CountedLater(since) = reason {
            let entry = counted_later.entry(node).or_insert((0, *since));
            *entry = (entry.0 + 1, entry.1.max(*since));
        } else {
            *others.entry(*reason).or_default() += 1;
        }
    }
    let of_nodes = counted_later.into_iter().map(|(node, (count, since))| {
        format!(
            "node {} counts only since {}, so that {} not called since then, and left out: \
             `--idle` without a time lists {}",
            terminal(node),
            to_second(since),
            if count == 1 { "1 port is".to_owned() } else { format!("{count} ports are") },
            if count == 1 { "it" } else { "them" },
        )
    });
    let of_reasons = others.into_iter().map(|(reason, count)| {
        let ports = if count == 1 { "1 port is".to_owned() } else { format!("{count} ports are") };
        format!("{ports} left out: {}", why(reason, period))
    });
    of_nodes.chain(of_reasons).collect()
}

fn why(reason: Reason, period: Period) -> String {
    match (reason, period) {
        (Reason::OpenedLater, Period::Last(length)) => {
            format!("open for less than {}, and not called so far", length_text(length))
        }
        (Reason::OpenedLater | Reason::CountedLater(_), _) => {
            "not open or counted for long enough".to_owned()
        }
        (Reason::CallersNotListed, _) => "not all callers are listed, so that one may have called".to_owned(),
        (Reason::MayBeInUse, _) => {
            "a connection may still be in use, since its packets are not counted (within a pod, or \
             with --traffic connections)"
                .to_owned()
        }
        (Reason::Unproven, _) => "UDP that is not proven to serve, since nobody has called it".to_owned(),
        (Reason::NotCounted, _) => "traffic is not counted (--traffic off, or --scan-only)".to_owned(),
        (Reason::UnreadableTime, _) => "a time in the agent's answer cannot be read".to_owned(),
    }
}

/// Formats a period in the largest unit that divides it.
fn length_text(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
        .into_iter()
        .find(|(unit, _)| seconds % unit == 0)
        .map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::test_objects::listener;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn idle(last_call: LastCall, node_calls: NodeCalls) -> Idle {
        Idle { last_call, node_calls }
    }

    #[test]
    fn rows_say_the_last_call_the_calls_of_the_node_and_the_opening() {
        let since = at("2026-02-20T08:00:00.250Z");
        let probes = NodeCalls { count: 900, last: Some(at("2026-03-04T11:59:57Z")) };
        let mut older = listener(80, "web");
        older.traffic.since = Some(since.to_string());
        let mut seen = listener(81, "web");
        seen.opened_at = Some(since.to_string());
        let ports = [
            (older, idle(LastCall::NeverSince(since), probes)),
            (seen, idle(LastCall::At(at("2026-03-01T12:00:00Z")), NodeCalls::default())),
            (listener(82, "web"), idle(LastCall::Before(since, "pod".to_owned()), NodeCalls::default())),
            (listener(83, "web"), idle(LastCall::AtOrBefore(since), NodeCalls::default())),
        ];
        let text = table(&ports, Width::Narrow);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        assert_eq!(
            rows[1][5..],
            ["never since 2026-02-20T08:00:00Z", "900, 3s ago", "before 2026-02-20T08:00:00Z"]
        );
        assert_eq!(rows[2][5..], ["3d ago", "-", "2026-02-20T08:00:00Z"]);
        assert_eq!(rows[3][5..], ["before 2026-02-20T08:00:00Z (pod)", "-", "-"]);
        assert_eq!(rows[4][5], "12d ago or earlier");
    }

    #[test]
    fn what_is_left_out_is_counted_by_node_and_by_reason() {
        let of = |node: &str, reason| (node.to_owned(), reason);
        let later = |time| Reason::CountedLater(at(time));
        let left_out = [
            of("b", Reason::Unproven),
            of("b\u{1b}", later("2026-03-03T12:00:00Z")),
            of("a", later("2026-03-03T12:00:00Z")),
            of("a", Reason::OpenedLater),
            of("a", later("2026-03-03T12:00:01Z")),
            of("a", Reason::Unproven),
        ];
        let notes = notes(&left_out, Period::parse("1w").unwrap());
        assert_eq!(
            notes,
            [
                "node a counts only since 2026-03-03T12:00:01Z, so that 2 ports are not called since then, and left \
                 out: `--idle` without a time lists them",
                "node b\\u{1b} counts only since 2026-03-03T12:00:00Z, so that 1 port is not called since then, and \
                 left out: `--idle` without a time lists it",
                "1 port is left out: open for less than 7d, and not called so far",
                "2 ports are left out: UDP that is not proven to serve, since nobody has called it",
            ]
        );
    }
}
