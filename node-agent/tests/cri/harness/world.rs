//! An agent that watches the tier's runtime, and its reports about pods.

use portolan_report::wire::{Finding, Listener, Report};

use super::agent::{Agent, Stdout};
use super::containerd::Node;
use super::pod::{NAMESPACE, Pod};
use super::timeouts::{TIMEOUT, eventually};

/// Returns `--metadata` with the tier's socket.
pub fn metadata() -> String {
    Node::with(|node| format!("cri={}", node.socket().display()))
}

/// Starts an agent and waits until it is ready and knows the existing pods.
pub fn agent() -> Agent {
    let mut agent = unready_agent();
    agent.wait_ready();
    wait_source(&agent, "up");
    agent
}

/// Starts an agent.
pub fn unready_agent() -> Agent {
    let socket = Node::with(|node| node.path("agent.sock"));
    Agent::start_on(&metadata(), socket, &["--pod-cidr", "10.244.0.0/16"], Stdout::Read)
}

/// Waits until the agent reports this state of the runtime. Returns the reason.
pub fn wait_source(agent: &Agent, state: &str) -> Option<String> {
    eventually(TIMEOUT * 2, &format!("the runtime is {state}"), || {
        let sources = agent.status().sources;
        let cri = sources.iter().find(|source| source.name.starts_with("cri"));
        match cri {
            Some(cri) if cri.state == state => Ok(cri.reason.clone()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// Waits until the agent has printed the pod's listener on this port for which `is_so` is true, and returns it.
pub fn listener(agent: &Agent, pod: &Pod, port: u16, is_so: impl Fn(&Listener) -> bool) -> Listener {
    agent.wait_report(&format!("{} listens on {port}", pod.name), |report| match report {
        Report::Listener(item) if item.port == port && item.state == "open" && is(item.pod.as_ref(), pod) => {
            is_so(item).then(|| item.clone())
        }
        _ => None,
    })
}

/// Waits until the agent has printed the pod's finding on this port with this code, and returns it.
pub fn finding(agent: &Agent, pod: &Pod, port: u16, code: &str) -> Finding {
    agent.wait_report(&format!("{code} of {} on {port}", pod.name), |report| match report {
        Report::Finding(item)
            if item.code == code
                && item.state == "open"
                && is(item.pod.as_ref(), pod)
                && item.listener.as_ref().is_some_and(|listener| listener.port == port) =>
        {
            Some(item.clone())
        }
        _ => None,
    })
}

fn is(said: Option<&portolan_report::wire::Pod>, pod: &Pod) -> bool {
    said.is_some_and(|said| said.uid == pod.uid && said.name == pod.name && said.namespace == NAMESPACE)
}
