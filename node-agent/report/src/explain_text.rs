//! Text form of an explanation: the answer in sentences, each path as a tree from entry point to process, and the facts about
//! the port at its end.
//!
//! Everything that a pod may choose is escaped. Lines are wrapped at the width of the terminal.

use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

use crate::cells;
use crate::escape::terminal;
use crate::explanation::{
    ExplainedEnd, ExplainedEntryPoint, ExplainedPod, ExplainedPolicy, TargetExplanation,
};
use crate::wire::{Declaration, Explanation, Finding, Listener, Peer, Pod, Traffic};

/// Maximum number of peers shown per port.
const MAX_PEERS: usize = 5;
/// Minimum width of a line in columns; a narrower terminal breaks lines itself.
const MIN_WIDTH: usize = 40;
/// Width of the column with the labels of facts.
const LABEL: usize = 12;

/// Formats the whole answer. A line is at most `width` columns wide, unless it consists of one longer word.
#[must_use]
pub fn explanation(explained: &TargetExplanation, width: usize) -> String {
    let mut out = WrappedText { text: String::new(), width: width.max(MIN_WIDTH) };
    for sentence in &explained.answer {
        out.wrapped("", "", sentence);
    }
    for end in &explained.ends {
        out.blank();
        let pod = explained.pods.iter().find(|step| Some(&step.pod) == end.pod.as_ref());
        path(&mut out, explained, end, pod);
    }
    let on_pods: Vec<&Finding> = explained.pods.iter().flat_map(|step| &step.findings).collect();
    if !on_pods.is_empty() {
        out.blank();
        findings(&mut out, "", &on_pods);
    }
    out.list("Note", &explained.notes);
    if explained.truncated {
        out.blank();
        out.wrapped(
            "",
            "",
            "There is more than is shown: ask for one port (POD:PORT), or see portolan listeners.",
        );
    }
    out.list("Next", &explained.next);
    out.text
}

/// Text under construction, wrapped at a width.
struct WrappedText {
    text: String,
    width: usize,
}

impl WrappedText {
    /// Appends a blank line, except at the beginning.
    fn blank(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// Appends a paragraph. `first` indents its first line, `rest` the other lines.
    fn wrapped(&mut self, first: &str, rest: &str, paragraph: &str) {
        if paragraph.is_empty() {
            return self.line(first.trim_end());
        }
        let options = Options::new(self.width)
            .initial_indent(first)
            .subsequent_indent(rest)
            .break_words(false)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .wrap_algorithm(WrapAlgorithm::FirstFit);
        for line in textwrap::wrap(&terminal(paragraph), options) {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Appends a paragraph with a label before its first line.
    fn fact(&mut self, indent: &str, label: &str, paragraph: &str) {
        let rest = format!("{indent}{:LABEL$}", "");
        self.wrapped(&format!("{indent}{label:LABEL$}"), &rest, paragraph);
    }

    /// Appends a bullet list under a title, unless there are no items.
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

/// Appends the path to an end as a tree, and the facts about the end.
fn path(
    out: &mut WrappedText,
    explained: &TargetExplanation,
    end: &ExplainedEnd,
    pod: Option<&ExplainedPod>,
) {
    let (main, others) = main_entry_points(explained, end);
    for point in &main {
        out.wrapped("  ", "      ", &entry_point_text(point, &end.protocol));
    }
    let mut depth = 0;
    let mut step = |out: &mut WrappedText, paragraph: &str| {
        let indent = " ".repeat(2 + 3 * depth);
        out.wrapped(&format!("{indent}└─ "), &format!("{indent}   "), paragraph);
        depth += 1;
    };
    if let Some(service) = main.first().and_then(|point| point.service.as_ref()) {
        let named = service.port.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        step(
            out,
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
    step(out, &location(end, pod));
    if let Some(listener) = &end.listener {
        if let Some(container) = &listener.container {
            step(out, &format!("container {} ({})", container.name, container.image));
        }
        step(out, &process(listener));
    } else {
        step(out, without_listener(&end.state));
    }
    facts(out, end, &others);
}

/// Splits the entry points of an end into the main ones and the others. The main ones lead through the same Service as the
/// node port in the target, or else as the Service in the target, or else as the first entry point.
fn main_entry_points<'a>(
    explained: &TargetExplanation,
    end: &'a ExplainedEnd,
) -> (Vec<&'a ExplainedEntryPoint>, Vec<&'a ExplainedEntryPoint>) {
    let asked = explained.services.first();
    let is_asked = |point: &&ExplainedEntryPoint| {
        let service = point.service.as_ref();
        service.zip(asked).is_some_and(|(one, asked)| {
            (&one.namespace, &one.name) == (&asked.namespace, &asked.name) && asked.ports.contains(&one.port)
        })
    };
    let number =
        explained.target.text.strip_prefix(':').and_then(|text| text.split('/').next()?.parse().ok());
    let is_dialled = |point: &&ExplainedEntryPoint| {
        number == Some(point.port) && matches!(point.kind.as_str(), "nodePort" | "hostPort" | "hostNetwork")
    };
    let points = &end.entry_points;
    let dialled = points.iter().find(is_dialled);
    let lead = dialled.or_else(|| points.iter().find(is_asked)).or_else(|| points.first());
    let Some(lead) = lead else { return (Vec::new(), Vec::new()) };
    points.iter().partition(|point| point.service == lead.service)
}

fn entry_point_text(point: &ExplainedEntryPoint, protocol: &str) -> String {
    let port = format!("port {}/{protocol}", point.port);
    let some = cells::list(&point.addresses).replace(',', ", ");
    match (point.kind.as_str(), point.addresses.is_empty()) {
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

/// Formats the pod (or the node), the port and the network namespace of an end.
fn location(end: &ExplainedEnd, pod: Option<&ExplainedPod>) -> String {
    let port = end
        .port
        .map_or_else(|| "no port of that name".to_owned(), |port| format!("port {port}/{}", end.protocol));
    let netns = match (&end.listener, pod.and_then(|pod| pod.netns.as_ref())) {
        (Some(listener), _) => Some(&listener.netns),
        (None, netns) => netns,
    };
    let owner = end.pod.as_ref().map_or_else(|| "the node itself".to_owned(), pod_name);
    if end.pod.as_ref().is_none_or(|pod| pod.host_network) {
        return format!("{owner}, {port}, in the node's own network namespace");
    }
    let netns = netns.map_or_else(String::new, |netns| {
        let name = netns.name.as_ref().map_or_else(String::new, |name| format!("{name}, "));
        format!(", network namespace {name}inode {}", netns.inode)
    });
    format!("{owner}, {port}{netns}")
}

fn pod_name(pod: &Pod) -> String {
    format!("pod {}/{}", pod.namespace, pod.name)
}

fn process(listener: &Listener) -> String {
    let since = listener.opened_at.as_ref().map_or_else(
        || ", since before the agent".to_owned(),
        |at| format!(", for {}", cells::age(at, &listener.envelope.time)),
    );
    if let Some(to) = &listener.forwarded_to {
        return format!("forwarded to {}{since}", cells::endpoint(&to.address, to.port));
    }
    let server = match &listener.process {
        Some(process) => {
            let executable = process.executable.as_ref().map_or_else(String::new, |path| format!(", {path}"));
            format!("process {} (pid {}{executable})", process.name, process.pid)
        }
        None if listener.served_by == "kernel" => "the kernel".to_owned(),
        None => "an unknown process".to_owned(),
    };
    let others: Vec<String> = listener.other_processes.iter().map(cells::process).collect();
    let others = if others.is_empty() { String::new() } else { format!(" (beside {})", others.join(", ")) };
    let addresses = cells::list(&listener.addresses).replace(',', ", ");
    let sockets =
        if listener.sockets > 1 { format!(" with {} sockets", listener.sockets) } else { String::new() };
    let unproven = if listener.unproven { ", unproven" } else { "" };
    format!("{server}{others}, listens on {addresses}{sockets}{since}{unproven}")
}

/// Returns the last step of a path that ends without a known listener.
fn without_listener(state: &str) -> &'static str {
    match state {
        "silent" => "nobody listens",
        "unresolved" => "nothing is sent here",
        "opaque" => "sockets of another kernel or sandbox: not seen",
        _ => "not looked at yet",
    }
}

/// Appends the facts about the port at an end: other entry points, declaration, policy, exposure, findings, traffic.
fn facts(out: &mut WrappedText, end: &ExplainedEnd, others: &[&ExplainedEntryPoint]) {
    let indent = "  ";
    for (number, point) in others.iter().enumerate() {
        let through = point.service.as_ref().map_or_else(String::new, |service| {
            format!(" → Service {}/{} port {}", service.namespace, service.name, service.port.port)
        });
        let label = if number == 0 { "also by" } else { "" };
        out.fact(indent, label, &format!("{}{through}", entry_point_text(point, &end.protocol)));
    }
    if end.port.is_none() {
        return;
    }
    out.fact(indent, "declared", &declared(&end.declaration));
    out.fact(indent, "policy", &policy(&end.policy));
    out.fact(indent, "exposure", exposure(&end.exposure));
    findings(out, indent, &end.findings.iter().collect::<Vec<_>>());
    if let Some(listener) = &end.listener {
        if end.pod.is_none() && is_unused(&listener.traffic) {
            out.fact(
                indent,
                "traffic",
                "none counted; the node's own sockets are counted with agent --include-host",
            );
        } else {
            traffic(out, indent, listener);
        }
    }
}

fn declared(declaration: &Declaration) -> String {
    let by = if declaration.declared_by.is_empty() {
        "by no container".to_owned()
    } else {
        format!("by {}", declaration.declared_by.join(", "))
    };
    let audience = |by: &Explanation| match by.audience.as_str() {
        "node" => " (for the node's calls)",
        "listed" => " (for those whom it admits)",
        "pods" => " (for pods)",
        "everybody" => " (for everybody)",
        _ => "",
    };
    let expected = declaration.explained_by.iter();
    let expected: Vec<String> =
        expected.map(|by| format!("{} {}{}", by.source, by.reference, audience(by))).collect();
    if expected.is_empty() { by } else { format!("{by}; expected by {}", expected.join(", ")) }
}

fn policy(policy: &ExplainedPolicy) -> String {
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

fn findings(out: &mut WrappedText, indent: &str, findings: &[&Finding]) {
    if findings.is_empty() {
        out.fact(indent, "findings", "none");
    }
    for (number, finding) in findings.iter().enumerate() {
        let label = if number == 0 { "findings" } else { "" };
        let text = format!("{} ({}): {}", finding.code, finding.severity, finding.message);
        out.fact(indent, label, &text);
    }
}

fn is_unused(traffic: &Traffic) -> bool {
    traffic.attempts == 0 && traffic.packets == 0 && traffic.connections == 0
}

fn traffic(out: &mut WrappedText, indent: &str, listener: &Listener) {
    let (traffic, now) = (&listener.traffic, &listener.envelope.time);
    let counted = cells::counted_for(listener);
    let since = counted.map(|age| format!(" in the {age} that the agent counts")).unwrap_or_default();
    let last = traffic.last_seen.as_ref();
    let last = last.map_or_else(String::new, |at| format!(", last {} ago", cells::age(at, now)));
    let amount = if is_unused(traffic) {
        format!("none seen{since}")
    } else {
        format!(
            "{} attempts, {} connections, {} packets, {}{since}{last}",
            traffic.attempts,
            traffic.connections,
            traffic.packets,
            cells::size(traffic.bytes)
        )
    };
    out.fact(indent, "traffic", &amount);
    if let Some(earlier) = &traffic.called_earlier {
        out.fact(indent, "", &format!("before the agent started it was called, farthest from: {earlier}"));
    }
    for (number, peer) in traffic.peers.iter().take(MAX_PEERS).enumerate() {
        let caller = caller(peer, &listener.envelope.node);
        let unexplained = if peer.beyond_audience { ", explained by nothing" } else { "" };
        let text = format!(
            "{caller}, {}{unexplained}: {} connections, {}, last {} ago",
            peer.origin,
            peer.connections,
            cells::size(peer.bytes),
            cells::age(&peer.last_seen, now)
        );
        out.fact(indent, if number == 0 { "from" } else { "" }, &text);
    }
    if traffic.peers.len() > MAX_PEERS || (traffic.truncated && !traffic.peers.is_empty()) {
        out.fact(indent, "", "and others");
    }
}

/// Returns who a peer is: the pod, or else the node that the plugin found for the address, where it is another one.
fn caller(peer: &Peer, own_node: &str) -> String {
    match (&peer.reference, &peer.caller_node) {
        (Some(reference), _) => format!("{reference} ({})", peer.address),
        (None, Some(node)) if node != own_node => format!("{}, from node {node}", peer.address),
        (None, _) => peer.address.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{WrappedText, caller};
    use crate::wire::Peer;

    fn peer(reference: Option<&str>, caller_node: Option<&str>) -> Peer {
        serde_json::from_value(serde_json::json!({
            "address": "10.0.0.2", "origin": "external", "ref": reference, "callerNode": caller_node, "connections": 1,
            "packets": 1, "bytes": 1, "firstSeen": "2026-11-30T00:00:00Z", "lastSeen": "2026-11-30T00:00:00Z",
        }))
        .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_caller_on_another_node_is_shown_with_the_name_of_that_node() {
        assert_eq!(caller(&peer(None, Some("node-2")), "node-1"), "10.0.0.2, from node node-2");
        assert_eq!(caller(&peer(None, Some("node-1")), "node-1"), "10.0.0.2");
        assert_eq!(caller(&peer(None, None), "node-1"), "10.0.0.2");
        assert_eq!(caller(&peer(Some("shop/curler"), Some("node-2")), "node-1"), "shop/curler (10.0.0.2)");
    }

    #[test]
    fn paragraphs_wrap_at_spaces_and_continue_under_their_indent() {
        let mut text = WrappedText { text: String::new(), width: 20 };
        text.wrapped(
            "- ",
            "  ",
            "a non-breaking-hyphenated-word stays whole, \u{6e2f}\u{53e3}\u{6e2f}\u{53e3} is wide",
        );
        let lines = "- a\n  non-breaking-hyphenated-word\n  stays whole,\n  \u{6e2f}\u{53e3}\u{6e2f}\u{53e3} is wide\n";
        assert_eq!(text.text, lines);
    }

    #[test]
    fn control_characters_are_escaped_before_wrapping() {
        let mut text = WrappedText { text: String::new(), width: 40 };
        text.wrapped("", "", "a\nb\u{1b}[2J");
        assert_eq!(text.text, "a\\nb\\u{1b}[2J\n");
    }
}
