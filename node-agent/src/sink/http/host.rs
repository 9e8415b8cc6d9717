//! Check of the Host header against DNS rebinding: a web page can make its own name resolve to this machine, but cannot
//! send a Host header with another name.

use std::net::{IpAddr, SocketAddr};

/// Which Host headers are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCheck {
    /// Any header: no browser reaches a unix socket, and telemetry is for the network.
    Off,
    /// `localhost`, loopback addresses, and the address that the endpoint listens on. If that is unspecified (`0.0.0.0`, `::`),
    /// any address.
    Bound(SocketAddr),
}

impl HostCheck {
    /// Returns true if `host`, the value of a Host header, is accepted.
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

/// Removes the port. `None` if the text after the colon is not a port.
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
