//! Which Host headers are answered: a page in a browser can make a name of its own resolve to this machine (DNS
//! rebinding), but cannot send the header of another name.

use std::net::{IpAddr, SocketAddr};

/// What is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCheck {
    /// Anything: no browser reaches a unix socket, and telemetry is for the network.
    Off,
    /// `localhost`, loopback addresses, and this one; any address where it is unspecified (`0.0.0.0`, `::`).
    Bound(SocketAddr),
}

impl HostCheck {
    /// Whether `host`, a Host header's value, is answered.
    #[must_use]
    pub fn admits(self, host: &str) -> bool {
        let Self::Bound(bound) = self else { return true };
        let Some(name) = without_port(host) else { return false };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        bare.parse::<IpAddr>().is_ok_and(|address| {
            let address = address.to_canonical();
            address.is_loopback() || bound.ip().is_unspecified() || address == bound.ip().to_canonical()
        })
    }
}

/// The host without its port; `None` where what follows the colon is no port.
fn without_port(host: &str) -> Option<&str> {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => port.parse::<u16>().ok().map(|_| name),
        _ => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::HostCheck;

    #[test]
    fn only_names_of_this_machine_are_admitted() {
        let check = |bound: &str, host: &str| HostCheck::Bound(bound.parse().expect("address")).admits(host);
        for host in ["localhost", "LOCALHOST:9470", "127.0.0.1:9470", "127.8.8.8", "[::1]:9470", "[::1]"] {
            assert!(check("127.0.0.1:9470", host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9470",
            "10.0.0.5:9470",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "127.0.0.1:x",
            "2130706433",
            "localhost:",
            "[::1",
        ] {
            assert!(!check("127.0.0.1:9470", host), "{host}");
        }
        assert!(check("10.0.0.5:9470", "10.0.0.5:9470"));
        assert!(!check("10.0.0.5:9470", "10.0.0.6:9470"));
        assert!(check("0.0.0.0:9470", "10.0.0.6:9470"));
        assert!(!check("0.0.0.0:9470", "evil.example"));
        assert!(check("[fd00::5]:9470", "[fd00::5]:9470"));
    }
}
