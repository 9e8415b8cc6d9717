//! Probes and lifecycle hooks: which ports of the pod itself kubelet calls for them.

use std::net::IpAddr;

use portolan_engine::model::pod::{ProbeHandler, ProbePort};
use serde::Deserialize;

use super::fields::{Fields, NumberOrName};

/// A probe or a lifecycle hook. Commands have no port.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Handler {
    http_get: Option<Fields<Call>>,
    tcp_socket: Option<Fields<Call>>,
    grpc: Option<Fields<Call>>,
}

#[derive(Debug, Deserialize)]
struct Call {
    port: NumberOrName,
    /// Whom kubelet calls instead of the pod.
    #[serde(default)]
    host: Option<String>,
}

/// `lifecycle` of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    post_start: Fields<Handler>,
    pre_stop: Fields<Handler>,
}

/// The hosts by which a call reaches the pod itself.
#[derive(Clone, Debug)]
pub enum OwnHosts {
    /// A pod with a network of its own: only these addresses.
    Pod(Vec<IpAddr>),
    /// A pod in the node's network: these addresses of the node, and loopback.
    Node(Vec<IpAddr>),
}

impl OwnHosts {
    /// True for a pod in the node's network.
    #[must_use]
    pub const fn has_node_network(&self) -> bool {
        matches!(self, Self::Node(_))
    }

    /// True if a call to this host reaches the pod itself.
    fn include(&self, host: &str) -> bool {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| address.to_canonical());
        match (self, address) {
            (Self::Pod(own), Ok(address)) => own.contains(&address),
            (Self::Node(own), Ok(address)) => address.is_loopback() || own.contains(&address),
            (Self::Node(_), Err(_)) => host.eq_ignore_ascii_case("localhost"),
            (Self::Pod(_), Err(_)) => false,
        }
    }
}

impl Handler {
    /// Returns the port of the pod itself that kubelet calls.
    #[must_use]
    pub fn calls(self, handler: ProbeHandler, hosts: &OwnHosts) -> Option<ProbePort> {
        let Fields(call) = self.http_get.or(self.tcp_socket).or(self.grpc)?;
        let host = call.host.filter(|host| !host.is_empty());
        let is_own = host.is_none_or(|host| hosts.include(&host));
        is_own.then_some(ProbePort { handler, port: call.port.0 })
    }
}

/// Returns the ports that a container's liveness, readiness and startup probes and its hooks call.
pub fn calls(
    [liveness, readiness, startup]: [Handler; 3],
    hooks: Lifecycle,
    hosts: &OwnHosts,
) -> Vec<ProbePort> {
    let handlers = [
        (ProbeHandler::Liveness, liveness),
        (ProbeHandler::Readiness, readiness),
        (ProbeHandler::Startup, startup),
        (ProbeHandler::PostStart, hooks.post_start.0),
        (ProbeHandler::PreStop, hooks.pre_stop.0),
    ];
    let mut ports: Vec<ProbePort> =
        handlers.into_iter().filter_map(|(handler, call)| call.calls(handler, hosts)).collect();
    ports.shrink_to_fit();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explains(host: &str, hosts: &OwnHosts) -> bool {
        let handler = format!(r#"{{"httpGet":{{"port":80,"host":"{host}"}}}}"#);
        let handler: Handler = serde_json::from_str(&handler).expect("a handler");
        handler.calls(ProbeHandler::Liveness, hosts).is_some()
    }

    #[test]
    fn a_call_to_another_host_is_no_call_to_the_pod() {
        let addresses =
            || vec!["10.1.0.5".parse().expect("an address"), "fd00::5".parse().expect("an address")];
        let (pod, node) = (OwnHosts::Pod(addresses()), OwnHosts::Node(addresses()));
        for (host, of_pod, of_node) in [
            ("", true, true),
            ("10.1.0.5", true, true),
            ("fd00::5", true, true),
            ("[fd00::5]", true, true),
            ("::ffff:10.1.0.5", true, true),
            ("127.0.0.1", false, true),
            ("127.8.0.1", false, true),
            ("::1", false, true),
            ("localhost", false, true),
            ("10.1.0.6", false, false),
            ("registry.example.org", false, false),
        ] {
            assert_eq!((explains(host, &pod), explains(host, &node)), (of_pod, of_node), "{host}");
        }
    }
}
