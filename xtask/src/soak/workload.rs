//! What happens in the cluster, second by second, and what must exist and be counted afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::account::{Account, Port};
use super::cluster::{Cluster, DATAGRAMS, DECLARED, PODS, STEADY, UNDECLARED, name, replace};
use super::sample::namespaces;
use crate::bench::agent::Agent;

/// The first of the ports that are opened and closed.
const OPENED: u16 = 20_000;
/// In each second, every pod gets so many connections to each of its two TCP ports, and so many datagrams.
const ROUNDS: u32 = 5;
/// Connections per second, at most; 200 are made in a second.
const RATE: u32 = 400;
/// Connections of a burst, made within a second where the machine can.
const BURST: u32 = 5000;
/// Seconds of a cycle in which there is a burst on a declared port, and on an undeclared one.
const BURSTS: [(u32, u16); 2] = [(5, DECLARED), (12, UNDECLARED)];
/// Seconds between two reloads.
const RELOADED: u32 = 5;
/// Second of a cycle in which the exception comes or goes. Once per cycle, so that the finding is suppressed at one quiet moment
/// and open at the next.
const FLIPPED: u32 = 10;
const NO_EXCEPTION: &str = "exceptions: []\n";
const EXCEPTION: &str = "exceptions:\n- name: soak\n  reason: the soak suppresses it and opens it again\n  \
                         match: {namespace: soak, pod: pod-0, port: 9090/TCP}\n";

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub cycles: u64,
    pub pods: u64,
    pub servers: u64,
    pub listeners: u64,
    pub connections: u64,
    pub datagrams: u64,
    pub reloads: u64,
    pub requests: u64,
    /// Requests without an answer within 2 s.
    pub unanswered: u64,
    pub streams: u64,
}

/// The cluster and all that was done to it.
pub struct Workload {
    cluster: Cluster,
    config: PathBuf,
    pub totals: Totals,
    /// Calls of the ports that live as long as the soak.
    calls: BTreeMap<Port, u64>,
    is_excepted: bool,
    /// Counts the seconds, to choose pods and ports in turns.
    turn: usize,
}

impl Workload {
    /// # Errors
    /// If the configuration file cannot be written.
    pub fn new(cluster: Cluster, config: PathBuf) -> Result<Self> {
        replace(&config, NO_EXCEPTION)?;
        let steady = (0..STEADY).flat_map(|number| ports(number).map(|port| (port, 0)));
        let (totals, calls) = (Totals { pods: PODS as u64, ..Totals::default() }, steady.collect());
        Ok(Self { cluster, config, totals, calls, is_excepted: false, turn: 0 })
    }

    /// Does what belongs to one second of a cycle.
    ///
    /// # Errors
    /// If a program fails, or the agent has ended.
    pub fn second(&mut self, second: u32, agent: &Agent) -> Result<()> {
        self.turn += 1;
        let churned = STEADY + self.turn / 2 % (PODS - STEADY);
        let restarted = STEADY + (self.turn / 2 + 3) % (PODS - STEADY);
        let called = self.targets(&[DECLARED, UNDECLARED], &[churned, restarted]);
        self.begin_connections(RATE, ROUNDS, &called)?;
        // Meanwhile:
        self.churn_pod(churned)?;
        if self.turn.is_multiple_of(3) && self.cluster.pods().contains_key(&restarted) {
            self.cluster.restart_server(restarted)?;
            self.totals.servers += 1;
        }
        self.churn_listeners()?;
        match second {
            FLIPPED => self.flip_exception()?,
            _ if second.is_multiple_of(RELOADED) => self.hang_up(agent)?,
            _ => {}
        }
        self.end_calls("TCP", &called)?;
        self.datagrams()?;
        for (at, port) in BURSTS {
            if at == second {
                let target = self.targets(&[port], &[]).into_iter().next();
                let target: Vec<_> = target.into_iter().collect();
                self.begin_connections(BURST, BURST, &target)?;
                self.end_calls("TCP", &target)?;
            }
        }
        Ok(())
    }

    /// Brings back all pods and closes what was opened, so that the same exists after each cycle.
    ///
    /// # Errors
    /// If a program fails.
    pub fn rest(&mut self) -> Result<()> {
        for number in 0..PODS {
            if !self.cluster.pods().contains_key(&number) {
                self.make_pod(number)?;
            }
            self.cluster.close_opened(number)?;
        }
        self.cluster.declare()?;
        self.datagrams()
    }

    /// Returns what must exist now, and what must be counted.
    pub fn account(&self) -> Account {
        let numbers = || self.cluster.pods().keys().copied();
        let state =
            |port: &Port| if self.is_excepted && *port == tcp(0, UNDECLARED) { "suppressed" } else { "open" };
        let found = numbers().flat_map(ports).filter(|(_, _, port)| *port != DECLARED);
        Account {
            pods: numbers().map(name).collect(),
            listeners: numbers().flat_map(ports).collect(),
            findings: found.map(|port| (port.clone(), state(&port).to_owned())).collect(),
            calls: self.calls.clone(),
            namespaces: namespaces(|_| true).len() as u64,
            ..Account::default()
        }
    }

    /// Removes a pod in one second and makes it again in the next.
    fn churn_pod(&mut self, number: usize) -> Result<()> {
        if self.turn.is_multiple_of(2) {
            self.cluster.remove(number);
        } else if !self.cluster.pods().contains_key(&number) {
            self.make_pod(number)?;
        }
        self.cluster.declare()
    }

    fn make_pod(&mut self, number: usize) -> Result<()> {
        self.cluster.add(number)?;
        self.totals.pods += 1;
        Ok(())
    }

    /// Opens a port in one pod, and closes the ports that were opened in another.
    fn churn_listeners(&mut self) -> Result<()> {
        let port = OPENED + u16::try_from(self.turn % 1000).unwrap_or_default();
        let number = self.turn % STEADY;
        self.cluster.open(number, port)?;
        self.totals.listeners += 1;
        self.cluster.close_opened((number + STEADY - 3) % STEADY)
    }

    /// Changes the configuration file, which the agent follows.
    fn flip_exception(&mut self) -> Result<()> {
        self.is_excepted = !self.is_excepted;
        replace(&self.config, if self.is_excepted { EXCEPTION } else { NO_EXCEPTION })?;
        self.totals.reloads += 1;
        Ok(())
    }

    /// Makes the agent read its files again by SIGHUP.
    fn hang_up(&mut self, agent: &Agent) -> Result<()> {
        let pid = i32::try_from(agent.pid()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::HUP).context("cannot signal the agent")?;
        self.totals.reloads += 1;
        Ok(())
    }

    /// Sends datagrams to every pod, each from another address.
    fn datagrams(&mut self) -> Result<()> {
        let targets = self.targets(&[DATAGRAMS], &[]);
        let addresses: Vec<_> = targets.iter().map(|(_, address)| *address).collect();
        self.cluster.call(&format!("udp {ROUNDS}"), &addresses)?;
        self.end_calls("UDP", &targets)
    }

    fn begin_connections(&mut self, rate: u32, rounds: u32, targets: &[(Port, SocketAddrV4)]) -> Result<()> {
        let addresses: Vec<_> = targets.iter().map(|(_, address)| *address).collect();
        self.cluster.call(&format!("tcp {rate} {rounds}"), &addresses)
    }

    /// Waits for the end of the calls and adds them up.
    fn end_calls(&mut self, protocol: &str, targets: &[(Port, SocketAddrV4)]) -> Result<()> {
        for (count, (port, _)) in self.cluster.called()?.into_iter().zip(targets) {
            match protocol {
                "UDP" => self.totals.datagrams += count,
                _ => self.totals.connections += count,
            }
            if let Some(calls) = self.calls.get_mut(port) {
                *calls += count;
            }
        }
        Ok(())
    }

    /// Returns these ports of every pod that exists, except of some.
    fn targets(&self, wanted: &[u16], except: &[usize]) -> Vec<(Port, SocketAddrV4)> {
        let pods = self.cluster.pods().iter().filter(|(number, _)| !except.contains(number));
        pods.flat_map(|(number, pod)| {
            let some = ports(*number).into_iter().filter(|(_, _, port)| wanted.contains(port));
            some.map(|port| (port.clone(), pod.target(port.2)))
        })
        .collect()
    }
}

/// Returns the ports of every pod.
fn ports(number: usize) -> [Port; 3] {
    [tcp(number, DECLARED), tcp(number, UNDECLARED), (name(number), "UDP".to_owned(), DATAGRAMS)]
}

fn tcp(number: usize, port: u16) -> Port {
    (name(number), "TCP".to_owned(), port)
}
