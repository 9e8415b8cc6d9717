//! Single cells of tables: amounts, ages, names. Short enough that a row stays one line on a common terminal.

use jiff::Timestamp;

use crate::wire::{Listener, Peer, Pod, Process, Traffic, Via};

/// What stands where there is nothing to show.
pub const NONE: &str = "-";

/// `512B`, `3.4KiB`, `1.2GiB`.
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

/// Time from `since` to `now`, both RFC 3339, as kubectl writes ages: `12s`, `5m`, `3h`, `2d`.
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

/// `NAMESPACE/NAME`.
#[must_use]
pub fn pod(pod: Option<&Pod>) -> String {
    pod.map_or_else(|| NONE.to_owned(), |pod| format!("{}/{}", pod.namespace, pod.name))
}

/// The pod of a listener, or the netns that it is in.
#[must_use]
pub fn place(listener: &Listener) -> String {
    match (&listener.pod, &listener.netns.name) {
        (Some(_), _) => pod(listener.pod.as_ref()),
        (None, Some(name)) => format!("netns {name}"),
        (None, None) => format!("netns {}", listener.netns.inode),
    }
}

/// `NAME(PID)`.
#[must_use]
pub fn process(process: Option<&Process>) -> String {
    process.map_or_else(|| NONE.to_owned(), |process| format!("{}({})", process.name, process.pid))
}

/// What came in: connections where there are some, else packets, else attempts.
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

/// The busiest peer, and how many more there are.
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
    let who = peer
        .reference
        .clone()
        .unwrap_or_else(|| format!("{} ({})", client.unwrap_or(&peer.address), peer.origin));
    match peer.via.as_ref().map(dialled) {
        Some(dialled) => format!("{who} via {dialled}"),
        None => who,
    }
}

/// The Service, or the address, that was dialled.
#[must_use]
pub fn dialled(via: &Via) -> String {
    match &via.reference {
        Some(service) => service.clone(),
        None if via.address.contains(':') => format!("[{}]:{}", via.address, via.port),
        None => format!("{}:{}", via.address, via.port),
    }
}

/// The items with commas; `-` where there are none.
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
    fn sizes_have_two_digits_that_count() {
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
    fn traffic_says_the_strongest_thing_first() {
        let given = |connections, packets, attempts, bytes| {
            traffic(&Traffic { connections, packets, attempts, bytes, ..Traffic::default() })
        };
        assert_eq!(given(0, 0, 0, 0), "none");
        assert_eq!(given(1, 9, 4, 2048), "1 conn 2.0KiB");
        assert_eq!(given(0, 9, 4, 100), "9 pkts 100B");
        assert_eq!(given(0, 0, 4, 0), "4 attempts");
    }
}
