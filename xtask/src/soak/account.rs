//! What exists and what was counted, once as the soak knows it and once as the agent says it, and how the two differ.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::cluster::NAMESPACE;
use crate::bench::agent::Agent;

/// Maximum number of differences that are listed.
const LISTED: usize = 12;

/// A port of a pod: name of the pod, protocol, number.
pub type Port = (String, String, u16);

/// The state of the soak's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub pods: BTreeSet<String>,
    pub listeners: BTreeSet<Port>,
    /// Findings with their state.
    pub findings: BTreeMap<Port, String>,
    /// Connections, for UDP datagrams, to the ports that live as long as the soak.
    pub calls: BTreeMap<Port, u64>,
    /// Network namespaces on the machine.
    pub namespaces: u64,
    /// What the agent lists more than once under the same key.
    pub repeated: BTreeSet<String>,
    /// Number of listeners that the agent lists for the soak's pods, repeated ones included.
    pub listed: u64,
}

impl Account {
    /// Reads what the agent says. Only the ports of `calls` are counted.
    ///
    /// # Errors
    /// If the agent does not answer, or with something unknown.
    pub fn of_agent(agent: &Agent, status: &Value, calls: &BTreeMap<Port, u64>) -> Result<Self> {
        let namespaces = status.get("namespaces").and_then(Value::as_u64).context("no namespaces")?;
        let mut account = Self { namespaces, ..Self::default() };
        account.add_pods(&list(agent, "/v1/pods?")?)?;
        account.add_listeners(&list(agent, &format!("/v1/listeners?namespace={NAMESPACE}&"))?, calls)?;
        account.add_findings(&list(agent, &format!("/v1/findings?namespace={NAMESPACE}&"))?)?;
        Ok(account)
    }

    fn add_pods(&mut self, items: &[Value]) -> Result<()> {
        for item in items {
            if text(item, "/pod/namespace")? == NAMESPACE {
                let name = text(item, "/pod/name")?;
                if !self.pods.insert(name.clone()) {
                    self.repeated.insert(format!("pod {name:?}"));
                }
            }
        }
        Ok(())
    }

    fn add_listeners(&mut self, items: &[Value], calls: &BTreeMap<Port, u64>) -> Result<()> {
        self.listed += items.len() as u64;
        for item in items {
            let port = port(item)?;
            if calls.contains_key(&port) {
                let field = if port.1 == "UDP" { "/traffic/packets" } else { "/traffic/connections" };
                let count =
                    item.pointer(field).and_then(Value::as_u64).context("a listener without counts")?;
                self.calls.insert(port.clone(), count);
            }
            if !self.listeners.insert(port.clone()) {
                self.repeated.insert(format!("listener {port:?}"));
            }
        }
        Ok(())
    }

    fn add_findings(&mut self, items: &[Value]) -> Result<()> {
        for item in items {
            let port = port(item)?;
            if self.findings.insert(port.clone(), text(item, "/state")?).is_some() {
                self.repeated.insert(format!("finding {port:?}"));
            }
        }
        Ok(())
    }

    /// Returns what the agent lacks, has too much, or counts wrongly.
    pub fn differences(&self, agent: &Self) -> Vec<String> {
        let mut all = Vec::new();
        if self.namespaces != agent.namespaces {
            all.push(format!("{} namespaces, the agent says {}", self.namespaces, agent.namespaces));
        }
        // A pod that is made again keeps its name, so that the second may be of an earlier pod.
        all.extend(agent.repeated.iter().map(|what| format!("{what} is listed more than once")));
        sets("pod", &self.pods, &agent.pods, &mut all);
        sets("listener", &self.listeners, &agent.listeners, &mut all);
        maps("finding", &self.findings, &agent.findings, &mut all);
        maps("calls of", &self.calls, &agent.calls, &mut all);
        let more = all.len().saturating_sub(LISTED);
        all.truncate(LISTED);
        if more > 0 {
            all.push(format!("and {more} more differences"));
        }
        all
    }
}

fn sets<T: Ord + std::fmt::Debug>(
    what: &str,
    real: &BTreeSet<T>,
    agent: &BTreeSet<T>,
    all: &mut Vec<String>,
) {
    all.extend(real.difference(agent).map(|missing| format!("{what} {missing:?} is missing")));
    all.extend(agent.difference(real).map(|extra| format!("{what} {extra:?} does not exist")));
}

fn maps<T>(what: &str, real: &BTreeMap<Port, T>, agent: &BTreeMap<Port, T>, all: &mut Vec<String>)
where
    T: PartialEq + std::fmt::Debug,
{
    for (port, real) in real {
        match agent.get(port) {
            None => all.push(format!("{what} {port:?} is missing ({real:?})")),
            Some(said) if said != real => {
                all.push(format!("{what} {port:?}: {real:?}, the agent says {said:?}"))
            }
            Some(_) => {}
        }
    }
    let extra = agent.iter().filter(|(port, _)| !real.contains_key(*port));
    all.extend(extra.map(|(port, said)| format!("{what} {port:?} does not exist ({said:?})")));
}

/// Returns the listeners whose network namespace is none of `existing` any more.
///
/// # Errors
/// If the agent does not answer.
pub fn of_gone_namespaces(agent: &Agent, existing: &BTreeSet<u64>) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    for item in list(agent, "/v1/listeners?")? {
        let inode =
            item.pointer("/netns/inode").and_then(Value::as_u64).context("a listener without a netns")?;
        if !existing.contains(&inode) {
            gone.push(format!("a listener is in a namespace that is gone: {}", text(&item, "/id")?));
        }
    }
    Ok(gone)
}

/// Returns the body of a response as JSON.
///
/// # Errors
/// If there is no response with status 200.
pub fn json(agent: &Agent, path: &str) -> Result<Value> {
    let answer = agent.ask(path)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer to {path}"))?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{path}: {}", head.lines().next().unwrap_or_default());
    }
    serde_json::from_str(body).with_context(|| format!("{path} is no JSON"))
}

/// Returns the items of all pages of a list. `path` ends with `?` or `&`.
fn list(agent: &Agent, path: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut page = String::new();
    loop {
        let mut answer = json(agent, &format!("{path}limit=1000{page}"))?;
        let listed = answer.get_mut("items").and_then(Value::as_array_mut).context("a list without items")?;
        items.append(listed);
        match answer.get("continue").and_then(Value::as_str) {
            Some(next) => page = format!("&continue={next}"),
            None => return Ok(items),
        }
    }
}

fn port(item: &Value) -> Result<Port> {
    let number = item.get("port").and_then(Value::as_u64).context("an object without a port")?;
    Ok((text(item, "/pod/name")?, text(item, "/protocol")?, u16::try_from(number)?))
}

fn text(item: &Value, pointer: &str) -> Result<String> {
    let text = item.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("an object without {pointer}: {item}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        ("pod-1".to_owned(), "TCP".to_owned(), number)
    }

    #[test]
    fn each_difference_is_named() {
        let real = Account {
            pods: ["pod-1".to_owned()].into(),
            listeners: [port(1), port(2)].into(),
            findings: [(port(1), "open".to_owned())].into(),
            calls: [(port(1), 10), (port(2), 3)].into(),
            namespaces: 22,
            ..Account::default()
        };
        assert_eq!(real.differences(&real), Vec::<String>::new());
        let agent = Account {
            pods: BTreeSet::new(),
            listeners: [port(1), port(3)].into(),
            findings: [(port(1), "suppressed".to_owned()), (port(3), "open".to_owned())].into(),
            calls: [(port(1), 9)].into(),
            namespaces: 23,
            ..Account::default()
        };
        assert_eq!(
            real.differences(&agent),
            [
                "22 namespaces, the agent says 23",
                "pod \"pod-1\" is missing",
                "listener (\"pod-1\", \"TCP\", 2) is missing",
                "listener (\"pod-1\", \"TCP\", 3) does not exist",
                "finding (\"pod-1\", \"TCP\", 1): \"open\", the agent says \"suppressed\"",
                "finding (\"pod-1\", \"TCP\", 3) does not exist (\"open\")",
                "calls of (\"pod-1\", \"TCP\", 1): 10, the agent says 9",
                "calls of (\"pod-1\", \"TCP\", 2) is missing (3)",
            ]
        );
    }

    #[test]
    fn what_is_listed_twice_is_a_difference() {
        let pod = serde_json::json!({"namespace": NAMESPACE, "name": "pod-1"});
        let listener = |connections: u64| {
            serde_json::json!({
                "pod": pod, "protocol": "TCP", "port": 1, "traffic": {"connections": connections},
            })
        };
        let finding =
            |state: &str| serde_json::json!({"pod": pod, "protocol": "TCP", "port": 1, "state": state});
        let pod = serde_json::json!({"pod": pod});
        let calls = [(port(1), 7)].into();
        let mut agent = Account::default();
        agent.add_pods(std::slice::from_ref(&pod)).expect("pods");
        agent.add_listeners(&[listener(7)], &calls).expect("listeners");
        agent.add_findings(&[finding("open")]).expect("findings");
        let real = agent.clone();
        assert_eq!(real.differences(&agent), Vec::<String>::new());
        agent.add_pods(&[pod]).expect("pods");
        agent.add_listeners(&[listener(7)], &calls).expect("listeners");
        agent.add_findings(&[finding("open")]).expect("findings");
        assert_eq!(agent.listed, 2);
        assert_eq!(
            real.differences(&agent),
            [
                "finding (\"pod-1\", \"TCP\", 1) is listed more than once",
                "listener (\"pod-1\", \"TCP\", 1) is listed more than once",
                "pod \"pod-1\" is listed more than once",
            ]
        );
    }

    #[test]
    fn a_long_list_of_differences_is_cut() {
        let real = Account { listeners: (0..100).map(port).collect(), ..Account::default() };
        let differences = real.differences(&Account::default());
        assert_eq!(differences.len(), LISTED + 1);
        assert_eq!(differences.last().map(String::as_str), Some("and 88 more differences"));
    }
}
