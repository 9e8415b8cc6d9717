//! Formats single cells of tables: amounts, ages and names, short enough for rows of one line on a common terminal.

use jiff::Timestamp;

use crate::wire::{Listener, Peer, Pod, Process, Traffic, Via};

/// Content of a cell without a value.
pub const NONE: &str = "-";

/// Formats a number of bytes: `512B`, `3.4KiB`, `1.2GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = "KiB";
    for larger in UNITS.iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    if tenths < 100 {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    } else {
        format!("{}{unit}", tenths / 10)
    }
}

/// Formats the time from `since` to `now`, both RFC 3339, as kubectl formats ages: `12s`, `5m`, `3h`, `2d`.
#[must_use]
pub fn age(since: &str, now: &str) -> String {
    let (Ok(since), Ok(now)) = (since.parse::<Timestamp>(), now.parse::<Timestamp>()) else {
        return NONE.to_owned();
    };
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Formats a pod as `NAMESPACE/NAME`.
#[must_use]
pub fn pod(pod: Option<&Pod>) -> String {
    pod.map_or_else(|| NONE.to_owned(), |pod| format!("{}/{}", pod.namespace, pod.name))
}

/// Formats the pod of a listener, or its netns if no pod is known.
#[must_use]
pub fn location(listener: &Listener) -> String {
    match (&listener.pod, &listener.netns.name) {
        (Some(_), _) => pod(listener.pod.as_ref()),
        (None, Some(name)) => format!("netns {name}"),
        (None, None) => format!("netns {}", listener.netns.inode),
    }
}

/// Formats a process as `NAME(PID)`.
#[must_use]
pub fn process(process: &Process) -> String {
    format!("{}({})", process.name, process.pid)
}

/// Formats who serves a port: the process with the number of others, the kernel, or where the port is forwarded to.
#[must_use]
pub fn server(listener: &Listener) -> String {
    let shown = match (&listener.process, &listener.forwarded_to) {
        (Some(shown), _) => process(shown),
        (None, Some(to)) => format!("forwarded to {}", endpoint(&to.address, to.port)),
        (None, None) if listener.served_by == "kernel" => "the kernel".to_owned(),
        (None, None) => NONE.to_owned(),
    };
    match listener.other_processes.len() {
        0 => shown,
        more => format!("{shown} +{more}"),
    }
}

/// Formats the declaration of a listener's port.
#[must_use]
pub fn declaration(listener: &Listener) -> String {
    let status = &listener.declaration.status;
    if listener.unproven { format!("{status} (unproven)") } else { status.clone() }
}

/// Formats the amount of traffic: the number of connections, or else of packets, or else of attempts; then the bytes.
#[must_use]
pub fn traffic(traffic: &Traffic) -> String {
    let (count, unit) = if traffic.connections > 0 {
        (traffic.connections, "conn")
    } else if traffic.packets > 0 {
        (traffic.packets, "pkt")
    } else {
        (traffic.attempts, "attempt")
    };
    match (count, traffic.bytes) {
        (0, 0) => "none".to_owned(),
        (_, 0) => format!("{count} {unit}{}", plural(count)),
        (_, bytes) => format!("{count} {unit}{} {}", plural(count), size(bytes)),
    }
}

/// Formats the amount of a listener's traffic, with ` in AGE` if it is counted for a shorter time than the port is open.
#[must_use]
pub fn traffic_of(listener: &Listener, amount: &Traffic) -> String {
    let counted = counted_for(listener).map(|age| format!(" in {age}"));
    format!("{}{}", traffic(amount), counted.unwrap_or_default())
}

/// Returns for how long a port is counted; `None` if the agent saw it open, or nothing is counted.
#[must_use]
pub fn counted_for(listener: &Listener) -> Option<String> {
    let since = listener.traffic.since.as_ref().filter(|_| listener.opened_at.is_none())?;
    Some(age(since, &listener.envelope.time))
}

/// Formats the first peer, which is the busiest, and the number of further peers.
#[must_use]
pub fn peers(traffic: &Traffic) -> String {
    let Some(first) = traffic.peers.first() else {
        return if traffic.truncated { "(not listed)" } else { NONE }.to_owned();
    };
    match (traffic.peers.len() - 1, traffic.truncated) {
        (0, false) => peer(first),
        (0, true) => format!("{} and more", peer(first)),
        (more, truncated) => format!("{} +{more}{}", peer(first), if truncated { " and more" } else { "" }),
    }
}

fn peer(peer: &Peer) -> String {
    let client = peer.via.as_ref().and_then(|via| via.client.as_ref());
    let caller = peer
        .reference
        .clone()
        .or_else(|| peer.caller_node.as_ref().map(|node| format!("node {node}")))
        .unwrap_or_else(|| format!("{} ({})", client.unwrap_or(&peer.address), peer.origin));
    match peer.via.as_ref().map(dialled) {
        Some(dialled) => format!("{caller} via {dialled}"),
        None => caller,
    }
}

/// Formats what a caller dialled: the Service, or the address and port if no Service is known. Formats what takes the
/// connections inside the pod, if that is all that is known.
#[must_use]
pub fn dialled(via: &Via) -> String {
    match (&via.reference, via.kind.as_str()) {
        (Some(service), _) => service.clone(),
        (None, "proxy") => format!("the pod's proxy on port {}", via.port),
        (None, _) => endpoint(&via.address, via.port),
    }
}

/// Formats an address with a port.
#[must_use]
pub fn endpoint(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Joins items with commas; `-` if there are none.
#[must_use]
pub fn list(items: &[String]) -> String {
    if items.is_empty() { NONE.to_owned() } else { items.join(",") }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_significant_digits() {
        for (bytes, then) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (10 * 1024, "10KiB"),
            (1024 * 1024 - 1, "1023KiB"),
            (1024 * 1024, "1.0MiB"),
            (u64::MAX, "15EiB"),
        ] {
            assert_eq!(size(bytes), then);
        }
    }

    #[test]
    fn ages_read_as_in_kubectl() {
        let now = "2026-03-04T12:00:00.000Z";
        for (since, then) in [
            ("2026-03-04T11:59:58.500Z", "1s"),
            ("2026-03-04T11:00:00Z", "60m"),
            ("2026-03-04T02:00:00Z", "10h"),
            ("2026-03-01T12:00:00Z", "3d"),
            ("2026-03-04T12:00:09Z", "0s"),
            ("yesterday", "-"),
        ] {
            assert_eq!(age(since, now), then, "{since}");
        }
    }

    #[test]
    fn traffic_shows_connections_before_packets_before_attempts() {
        let given = |connections, packets, attempts, bytes| {
            traffic(&Traffic { connections, packets, attempts, bytes, ..Traffic::default() })
        };
        assert_eq!(given(0, 0, 0, 0), "none");
        assert_eq!(given(1, 9, 4, 2048), "1 conn 2.0KiB");
        assert_eq!(given(0, 9, 4, 100), "9 pkts 100B");
        assert_eq!(given(0, 0, 4, 0), "4 attempts");
    }
}
