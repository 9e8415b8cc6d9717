//! An explanation for people: the answer in sentences, each way in as a tree from the door to the process, and what is
//! known of the port at its end. Everything that a pod may choose is escaped, and no line is wider than the terminal.

use crate::cells;
use crate::escape::terminal;
use crate::explanation::{ExplainedPod, Explanation, WayIn, WayInDoor, WayInPolicy};
use crate::wire::{Declaration, Finding, Listener, Pod, Traffic};

/// Peers of one port that are shown.
const MAX_PEERS: usize = 5;
/// Narrower than this, lines are as wide as they need be.
const MIN_WIDTH: usize = 40;
const LABEL: usize = 12;

/// The whole answer, each line at most `width` characters wide where words allow it.
#[must_use]
pub fn explanation(explained: &Explanation, width: usize) -> String {
    let mut page = Page { text: String::new(), width: width.max(MIN_WIDTH) };
    for sentence in &explained.answer {
        page.wrapped("", "", sentence);
    }
    for end in &explained.ends {
        page.blank();
        let pod = explained.pods.iter().find(|step| Some(&step.pod) == end.pod.as_ref());
        way_in(&mut page, explained, end, pod);
    }
    let on_pods: Vec<&Finding> = explained.pods.iter().flat_map(|step| &step.findings).collect();
    if !on_pods.is_empty() {
        page.blank();
        findings(&mut page, "", &on_pods);
    }
    page.list("Note", &explained.notes);
    if explained.truncated {
        page.blank();
        page.wrapped(
            "",
            "",
            "There is more than is shown: ask for one port (POD:PORT), or see portolan listeners.",
        );
    }
    page.list("Next", &explained.next);
    page.text
}

/// Lines that are written one below the other.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    fn blank(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// Words after `first`, and after `rest` on the lines that follow.
    fn wrapped(&mut self, first: &str, rest: &str, words: &str) {
        let words = terminal(words);
        let mut line = first.to_owned();
        let mut used = 0;
        // Two blanks and more are meant, as between columns.
        for word in words.split(' ') {
            let length = line.chars().count() + usize::from(used > 0) + word.chars().count();
            if used > 0 && length > self.width {
                self.line(&line);
                line = rest.to_owned();
                used = 0;
            }
            if used > 0 {
                line.push(' ');
            }
            line.push_str(word);
            used += 1;
        }
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn fact(&mut self, indent: &str, label: &str, words: &str) {
        let rest = format!("{indent}{:LABEL$}", "");
        self.wrapped(&format!("{indent}{label:LABEL$}"), &rest, words);
    }

    fn list(&mut self, title: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.blank();
        self.line(title);
        for item in items {
            self.wrapped("  - ", "    ", item);
        }
    }
}

fn way_in(page: &mut Page, explained: &Explanation, end: &WayIn, pod: Option<&ExplainedPod>) {
    let (main, others) = main_doors(explained, end);
    for door in &main {
        page.wrapped("  ", "      ", &door_text(door, &end.protocol));
    }
    let mut depth = 0;
    let mut step = |page: &mut Page, words: &str| {
        let indent = " ".repeat(2 + 3 * depth);
        page.wrapped(&format!("{indent}└─ "), &format!("{indent}   "), words);
        depth += 1;
    };
    if let Some(service) = main.first().and_then(|door| door.service.as_ref()) {
        let named = service.port.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        step(
            page,
            &format!(
                "Service {}/{}, port {}/{}{named} to targetPort {}",
                service.namespace,
                service.name,
                service.port.port,
                service.port.protocol,
                service.port.target_port
            ),
        );
    }
    step(page, &place(end, pod));
    if let Some(listener) = &end.listener {
        if let Some(container) = &listener.container {
            step(page, &format!("container {} ({})", container.name, container.image));
        }
        step(page, &process(listener));
    } else {
        step(page, nobody(&end.state));
    }
    facts(page, end, &others);
}

/// The door that is asked about with those beside it, or else those of the Service or of the first one; and all others.
fn main_doors<'a>(explained: &Explanation, end: &'a WayIn) -> (Vec<&'a WayInDoor>, Vec<&'a WayInDoor>) {
    let asked = explained.services.first();
    let is_asked = |door: &&WayInDoor| {
        let service = door.service.as_ref();
        service.zip(asked).is_some_and(|(one, asked)| {
            (&one.namespace, &one.name) == (&asked.namespace, &asked.name) && asked.ports.contains(&one.port)
        })
    };
    let number =
        explained.target.text.strip_prefix(':').and_then(|text| text.split('/').next()?.parse().ok());
    let is_dialled = |door: &&WayInDoor| {
        number == Some(door.port) && matches!(door.kind.as_str(), "nodePort" | "hostPort" | "hostNetwork")
    };
    let dialled = end.doors.iter().find(is_dialled);
    let lead = dialled.or_else(|| end.doors.iter().find(is_asked)).or_else(|| end.doors.first());
    let Some(lead) = lead else { return (Vec::new(), Vec::new()) };
    end.doors.iter().partition(|door| door.service == lead.service)
}

fn door_text(door: &WayInDoor, protocol: &str) -> String {
    let port = format!("port {}/{protocol}", door.port);
    let some = cells::list(&door.addresses).replace(',', ", ");
    match (door.kind.as_str(), door.addresses.is_empty()) {
        ("nodePort", _) => format!("any address of any node, {port} (NodePort)"),
        ("hostPort", _) => format!("any address of this node, {port} (hostPort)"),
        ("hostNetwork", _) => format!("any address of this node, {port} (no NAT: the node's own network)"),
        ("loopback", _) => format!("loopback only, {port}"),
        ("loadBalancer", true) => format!("a load balancer without an address yet, {port}"),
        ("loadBalancer", false) => format!("{some}, {port} (load balancer)"),
        ("externalIP", _) => format!("{some}, {port} (externalIPs)"),
        ("headless", _) => format!("{some} (headless: the name is the pods' own addresses)"),
        ("clusterIP", true) => format!("the ClusterIP, {port}"),
        ("clusterIP", false) => format!("{some}, {port} (ClusterIP)"),
        ("podAddress", true) => format!("the pod's own address, {port}"),
        ("podAddress", false) => format!("{some}, {port} (the pod's own address)"),
        (other, _) => format!("{some}, {port} ({other})"),
    }
}

fn place(end: &WayIn, pod: Option<&ExplainedPod>) -> String {
    let port = end
        .port
        .map_or_else(|| "no port of that name".to_owned(), |port| format!("port {port}/{}", end.protocol));
    let netns = match (&end.listener, pod.and_then(|pod| pod.netns.as_ref())) {
        (Some(listener), _) => Some(&listener.netns),
        (None, netns) => netns,
    };
    let whose = end.pod.as_ref().map_or_else(|| "the node itself".to_owned(), pod_name);
    if end.pod.as_ref().is_none_or(|pod| pod.host_network) {
        return format!("{whose}, {port}, in the node's own network namespace");
    }
    let netns = netns.map_or_else(String::new, |netns| {
        let name = netns.name.as_ref().map_or_else(String::new, |name| format!("{name}, "));
        format!(", network namespace {name}inode {}", netns.inode)
    });
    format!("{whose}, {port}{netns}")
}

fn pod_name(pod: &Pod) -> String {
    format!("pod {}/{}", pod.namespace, pod.name)
}

fn process(listener: &Listener) -> String {
    let who = listener.process.as_ref().map_or_else(
        || "an unknown process".to_owned(),
        |process| {
            let executable = process.executable.as_ref().map_or_else(String::new, |path| format!(", {path}"));
            format!("process {} (pid {}{executable})", process.name, process.pid)
        },
    );
    let addresses = cells::list(&listener.addresses).replace(',', ", ");
    let since = listener.opened_at.as_ref().map_or_else(
        || ", since before the agent".to_owned(),
        |at| format!(", for {}", cells::age(at, &listener.envelope.time)),
    );
    let sockets =
        if listener.sockets > 1 { format!(" with {} sockets", listener.sockets) } else { String::new() };
    format!("{who}, listens on {addresses}{sockets}{since}")
}

fn nobody(state: &str) -> &'static str {
    match state {
        "silent" => "nobody listens",
        "unresolved" => "nothing is sent here",
        "opaque" => "sockets of another kernel or sandbox: not seen",
        _ => "not looked at yet",
    }
}

fn facts(page: &mut Page, end: &WayIn, others: &[&WayInDoor]) {
    let indent = "  ";
    for (number, door) in others.iter().enumerate() {
        let through = door.service.as_ref().map_or_else(String::new, |service| {
            format!(" → Service {}/{} port {}", service.namespace, service.name, service.port.port)
        });
        let label = if number == 0 { "also by" } else { "" };
        page.fact(indent, label, &format!("{}{through}", door_text(door, &end.protocol)));
    }
    if end.port.is_none() {
        return;
    }
    page.fact(indent, "declared", &declared(&end.declaration));
    page.fact(indent, "policy", &policy(&end.policy));
    page.fact(indent, "exposure", exposure(&end.exposure));
    findings(page, indent, &end.findings.iter().collect::<Vec<_>>());
    if let Some(listener) = &end.listener {
        if end.pod.is_none() {
            page.fact(
                indent,
                "traffic",
                "not counted for the node's own sockets (but with agent --include-host)",
            );
        } else {
            traffic(page, indent, &listener.traffic, &listener.envelope.time);
        }
    }
}

fn declared(declaration: &Declaration) -> String {
    let by = if declaration.declared_by.is_empty() {
        "by no container".to_owned()
    } else {
        format!("by {}", declaration.declared_by.join(", "))
    };
    let why: Vec<String> =
        declaration.explained_by.iter().map(|why| format!("{} {}", why.source, why.reference)).collect();
    if why.is_empty() { by } else { format!("{by}; expected by {}", why.join(", ")) }
}

fn policy(policy: &WayInPolicy) -> String {
    let some = |admits: Option<bool>| {
        let all = policy.policies.iter().filter(|one| one.admits == admits);
        let all: Vec<String> = all
            .map(|one| match (one.admits, one.peers) {
                (Some(true), 0) => format!("{} (from everywhere)", one.name),
                (Some(true), 1) => format!("{} (from 1 peer)", one.name),
                (Some(true), peers) => format!("{} (from {peers} peers)", one.name),
                _ => one.name.clone(),
            })
            .collect();
        all.join(", ")
    };
    match policy.verdict.as_str() {
        "open" => format!("admitted by {}", some(Some(true))),
        "blocked" => format!("isolated by {}, and none admits it: everybody is kept out", some(Some(false))),
        "not-isolated" => "no NetworkPolicy selects the pod: every pod may call it".to_owned(),
        _ if policy.policies.is_empty() => "not known".to_owned(),
        _ => format!("not known; these may select the pod: {}", {
            let names: Vec<&str> = policy.policies.iter().map(|one| one.name.as_str()).collect();
            names.join(", ")
        }),
    }
}

fn exposure(exposure: &str) -> &str {
    match exposure {
        "loopback" => "loopback: only the pod's own containers reach it",
        "pod" => "pod: whoever reaches the pod's address",
        "host" => "host: whoever reaches the node's address",
        other => other,
    }
}

fn findings(page: &mut Page, indent: &str, findings: &[&Finding]) {
    if findings.is_empty() {
        page.fact(indent, "findings", "none");
    }
    for (number, finding) in findings.iter().enumerate() {
        let label = if number == 0 { "findings" } else { "" };
        let words = format!("{} ({}): {}", finding.code, finding.severity, finding.message);
        page.fact(indent, label, &words);
    }
}

fn traffic(page: &mut Page, indent: &str, traffic: &Traffic, now: &str) {
    let last = traffic.last_seen.as_ref();
    let last = last.map_or_else(String::new, |at| format!(", last {} ago", cells::age(at, now)));
    let amount = if traffic.attempts == 0 && traffic.packets == 0 && traffic.connections == 0 {
        "none seen".to_owned()
    } else {
        format!(
            "{} attempts, {} connections, {} packets, {}{last}",
            traffic.attempts,
            traffic.connections,
            traffic.packets,
            cells::size(traffic.bytes)
        )
    };
    page.fact(indent, "traffic", &amount);
    for (number, peer) in traffic.peers.iter().take(MAX_PEERS).enumerate() {
        let who = peer
            .reference
            .as_ref()
            .map_or_else(|| peer.address.clone(), |reference| format!("{reference} ({})", peer.address));
        let words = format!(
            "{who}, {}: {} connections, {}, last {} ago",
            peer.origin,
            peer.connections,
            cells::size(peer.bytes),
            cells::age(&peer.last_seen, now)
        );
        page.fact(indent, if number == 0 { "from" } else { "" }, &words);
    }
    if traffic.peers.len() > MAX_PEERS || (traffic.truncated && !traffic.peers.is_empty()) {
        page.fact(indent, "", "and others");
    }
}
