//! The setup of one case: a network, its manifests, its actors and one agent that watches it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use portolan::source::clock;
use portolan_ebpf::abi::traffic::SILENCE_NS;
use portolan_report::wire::{Finding, Listener, Report};
use portolan_testing::scratch::Scratch;

use super::actor::{Actor, at};
use super::agent::{Agent, Stdout};
use super::manifest::{self, PodManifest};
use super::network::Network;
use super::oracle::{self, Listeners};
use super::timeouts::{TIMEOUT, eventually};

/// Everything that a case uses, removed when dropped.
pub struct World {
    pub network: Network,
    pub pods: Vec<PodManifest>,
    pub scratch: Scratch,
}

impl World {
    /// Creates one namespace and one pod per role. `web:8080,53/UDP` declares ports; a role that begins with `outside`
    /// is no pod.
    pub fn new(roles: &[&str]) -> Self {
        let names: Vec<&str> = roles.iter().map(|role| role.split(':').next().unwrap_or(role)).collect();
        let network = Network::new(&names);
        let mut world = Self { network, pods: Vec::new(), scratch: Scratch::new("tier") };
        for role in roles {
            let (name, ports) = role.split_once(':').unwrap_or((role, ""));
            if name != super::network::OUTSIDE {
                world.declare(name, &ports.split(',').filter(|port| !port.is_empty()).collect::<Vec<_>>());
            }
        }
        world
    }

    /// Declares exactly these ports for a role's pod, and writes the manifests.
    pub fn declare(&mut self, role: &str, ports: &[&str]) {
        let netns = self.network.netns(role);
        self.pods.retain(|pod| pod.netns != netns);
        let ports = ports.iter().map(ToString::to_string).collect();
        self.pods.push(PodManifest { name: role.into(), netns, ports });
        manifest::write(&self.metadata(), &self.pods);
    }

    pub fn metadata(&self) -> PathBuf {
        self.scratch.path("pods.yaml")
    }

    /// Starts the agent and waits until it is ready.
    pub fn agent(&self) -> Agent {
        self.agent_with(&[], Stdout::Read)
    }

    pub fn agent_with(&self, options: &[&str], stdout: Stdout) -> Agent {
        Agent::start(&self.metadata(), self.scratch.path("api.sock"), options, stdout)
    }

    /// Starts the agent and waits until it has seen who speaks in every namespace for longer than the silence after which
    /// whoever speaks first asks. Before that, it cannot tell a call from an answer to what it did not see.
    pub fn agent_that_knows_who_asks(&self) -> Agent {
        let agent = self.agent();
        let known = clock::now().after(Duration::from_nanos(SILENCE_NS));
        eventually(TIMEOUT, "silence", || if clock::now() > known { Ok(()) } else { Err("not yet".into()) });
        agent
    }

    /// Starts a process in a role's namespace.
    pub fn actor(&self, role: &str) -> Actor {
        Actor::start(&self.network.netns(role))
    }

    pub fn v4(&self, role: &str, port: u16) -> SocketAddr {
        at(self.network.v4(role), port)
    }

    pub fn v6(&self, role: &str, port: u16) -> SocketAddr {
        at(self.network.v6(role), port)
    }

    /// Returns the listeners that the kernel lists now.
    pub fn kernel(&self) -> Listeners {
        oracle::kernel(&self.network.all_netns())
    }

    /// Waits until the agent's list equals the kernel's: nothing missing, nothing extra.
    pub fn settles(&self, agent: &Agent) -> Listeners {
        self.settles_within(agent, TIMEOUT)
    }

    pub fn settles_within(&self, agent: &Agent, timeout: Duration) -> Listeners {
        let netns = self.network.all_netns();
        eventually(timeout, "the agent's list equals the kernel's", || {
            let kernel = oracle::kernel(&netns);
            let said = oracle::agent(&agent.listeners()?, &netns)?;
            oracle::compare(&kernel, &said)
                .map_err(|why| format!("{why}\nstderr: {}", agent.diagnostics()))?;
            Ok(kernel)
        })
    }

    /// Waits for a listener of a role's pod for which `holds` is true.
    pub fn listener(
        &self,
        agent: &Agent,
        role: &str,
        port: u16,
        holds: impl Fn(&Listener) -> bool,
    ) -> Listener {
        let netns = self.network.netns(role);
        eventually(TIMEOUT, &format!("listener {role}:{port} as expected"), || {
            let of_port = |item: &Listener| item.netns.name.as_ref() == Some(&netns) && item.port == port;
            let items: Vec<_> = agent.listeners()?.into_iter().filter(of_port).collect();
            match items.iter().find(|item| holds(item)) {
                Some(item) => Ok(item.clone()),
                None => Err(format!("{items:#?}\nstderr: {}", agent.diagnostics())),
            }
        })
    }

    /// Waits for the finding of a role's port for which `holds` is true. Port 0 means a finding without a listener.
    pub fn finding(&self, agent: &Agent, role: &str, port: u16, holds: impl Fn(&Finding) -> bool) -> Finding {
        eventually(TIMEOUT, &format!("finding {role}:{port} as expected"), || {
            let mine = self.findings_of(agent, role)?;
            let of_port = |item: &Finding| item.listener.as_ref().map_or(port == 0, |of| of.port == port);
            match mine.iter().find(|item| of_port(item) && holds(item)) {
                Some(found) => Ok(found.clone()),
                None => Err(format!("{mine:#?}\nstderr: {}", agent.diagnostics())),
            }
        })
    }

    /// Returns every finding of a role's pod.
    pub fn findings_of(&self, agent: &Agent, role: &str) -> Result<Vec<Finding>, String> {
        let netns = self.network.netns(role);
        let uid = format!("uid-{netns}");
        let of_role = |item: &Finding| {
            item.pod.as_ref().is_some_and(|pod| pod.uid == uid)
                || item.listener.as_ref().is_some_and(|of| of.netns.name.as_ref() == Some(&netns))
        };
        Ok(agent.findings()?.into_iter().filter(of_role).collect())
    }

    /// Fails if the agent ever reported a port of a role's pod that is not among these, as a listener or in a finding.
    pub fn nothing_but(&self, agent: &Agent, role: &str, ports: &[(&str, u16)]) {
        self.nothing_extra(agent, role, |item| !ports.contains(&(item.protocol.as_str(), item.port)));
    }

    /// Fails if the agent ever reported a port of a role's pod, unless as unproven: a socket that is older than the agent may
    /// have been called before.
    pub fn nothing_proven(&self, agent: &Agent, role: &str) {
        self.nothing_extra(agent, role, |item| !item.unproven);
    }

    /// A marker is opened first, so that whatever happened before it has been decided.
    fn nothing_extra(&self, agent: &Agent, role: &str, is_extra: impl Fn(&Listener) -> bool) {
        const MARKER: u16 = 7999;
        let actor = self.actor(role);
        actor.listen(&format!("0.0.0.0:{MARKER}"));
        self.finding(agent, role, MARKER, |finding| finding.state == "open");
        let netns = self.network.netns(role);
        let mut extra = BTreeSet::new();
        let mut see = |item: &Listener| {
            let is_here = item.netns.name.as_ref() == Some(&netns) && item.port != MARKER;
            if is_here && is_extra(item) {
                extra.insert(format!("listener {}/{}", item.port, item.protocol));
            }
        };
        let reports = agent.reports();
        agent.listeners().expect("GET /v1/listeners").iter().for_each(&mut see);
        for report in &reports {
            match report {
                Report::Listener(item) => see(item),
                Report::Finding(item) => item.listener.iter().for_each(|of| see(of)),
                _ => {}
            }
        }
        assert!(extra.is_empty(), "{} are reported: {extra:?}", extra.len());
    }

    pub fn address(&self, role: &str) -> IpAddr {
        self.network.v4(role)
    }
}
