//! Exceptions: what an operator knows of and does not want to be told again. A rule turns an open finding that it matches
//! into a suppressed one; here is what it says and whether it matches, nothing of what follows.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::change::{Exposure, Suppression};
use super::finding_code::FindingCode;
use super::identity::{BootTime, Protocol};
use super::input::Process;
use super::pod::{Container, Pod};
use super::port::Face;

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name and reason, as findings show them.
    pub says: Arc<Suppression>,
    pub matches: Match,
    /// From then on it no longer applies.
    pub expires: Option<BootTime>,
}

/// What a finding must be like. Every field that is not empty must match; of several values in it, one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Of the pod. With this or any of the next four, findings that belong to no pod do not match.
    pub namespace: Vec<Pattern>,
    pub pod: Vec<Pattern>,
    pub labels: BTreeMap<String, Vec<Pattern>>,
    pub workload_kind: Vec<Pattern>,
    pub workload_name: Vec<Pattern>,
    /// Name of the container that the finding is about; one that is not certain does not match.
    pub container: Vec<Pattern>,
    pub image: Vec<Pattern>,
    /// What each process that serves the port calls itself; a pattern with a `/` is compared with the path of its executable.
    pub process: Vec<Pattern>,
    pub port: Vec<PortRange>,
    pub protocol: Vec<Protocol>,
    pub exposure: Vec<Exposure>,
    pub code: Vec<FindingCode>,
    /// Nothing that a debug container serves, whatever its code.
    pub never_ephemeral: bool,
}

/// A name, in which `*` stands for any text, also none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(pub String);

/// Ports of one protocol, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub ports: RangeInclusive<NonZeroU16>,
    pub protocol: Option<Protocol>,
}

/// What is compared with a rule beside the pod: a finding, before it is told.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub container: Option<&'a Container>,
    /// Of the port; `None` where the finding is not about sockets.
    pub face: Option<&'a Face>,
    pub protocol: Option<Protocol>,
    pub port: Option<NonZeroU16>,
    pub exposure: Exposure,
    /// A debug container serves the port, alone or beside others.
    pub ephemeral: bool,
    pub code: FindingCode,
}

impl Rule {
    #[must_use]
    pub fn applies(&self, now: BootTime) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

impl Match {
    /// True if it may match something of this pod.
    #[must_use]
    pub fn concerns_pod(&self, pod: &Pod) -> bool {
        let workload = pod.workload.as_ref();
        among(&self.namespace, Some(&pod.namespace))
            && among(&self.pod, Some(&pod.name))
            && among(&self.workload_kind, workload.map(|workload| workload.kind.as_str()))
            && among(&self.workload_name, workload.map(|workload| workload.name.as_str()))
            && self
                .labels
                .iter()
                .all(|(key, values)| pod.labels.get(key).is_some_and(|value| among(values, Some(value))))
    }

    /// True if it may match what belongs to no pod.
    #[must_use]
    pub fn concerns_no_pod(&self) -> bool {
        self.namespace.is_empty()
            && self.pod.is_empty()
            && self.labels.is_empty()
            && self.workload_kind.is_empty()
            && self.workload_name.is_empty()
    }

    /// True if it may match something of this port.
    #[must_use]
    pub fn concerns_port(&self, protocol: Protocol, port: NonZeroU16) -> bool {
        (self.protocol.is_empty() || self.protocol.contains(&protocol))
            && (self.port.is_empty() || self.port.iter().any(|range| range.holds(protocol, port)))
    }

    /// True if it matches, the pod aside.
    #[must_use]
    pub fn matches_beside_pod(&self, candidate: &Candidate<'_>) -> bool {
        let on_port = match (candidate.protocol, candidate.port) {
            (Some(protocol), Some(port)) => self.concerns_port(protocol, port),
            _ => self.port.is_empty() && self.protocol.is_empty(),
        };
        let container = candidate.container;
        // Whoever joins a port is not covered by what another process on it is called.
        let runs_one = |process| self.process.iter().any(|one| runs(one, process));
        on_port
            && !(self.never_ephemeral && candidate.ephemeral)
            && (self.code.is_empty() || self.code.contains(&candidate.code))
            && (self.exposure.is_empty() || self.exposure.contains(&candidate.exposure))
            && among(&self.container, container.map(|container| container.name.as_str()))
            && among(&self.image, container.map(|container| container.image.as_str()))
            && (self.process.is_empty() || candidate.face.is_some_and(|face| face.processes().all(runs_one)))
    }
}

impl Pattern {
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // The shortest text for each star but the last leaves the most for what comes after.
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
        rest.ends_with(last)
    }
}

impl PortRange {
    #[must_use]
    pub fn holds(&self, protocol: Protocol, port: NonZeroU16) -> bool {
        self.ports.contains(&port) && self.protocol.is_none_or(|own| own == protocol)
    }

    /// `PORT`, `FIRST-LAST`, or one of these with `/PROTOCOL`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, name)) => {
                let mut all = Protocol::ALL.into_iter();
                (ports, Some(all.find(|protocol| protocol.as_str().eq_ignore_ascii_case(name))?))
            }
            None => (text, None),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(Self { ports: first..=last, protocol })
    }
}

/// Digits only: a sign, or blanks, are nobody's port.
fn number(text: &str) -> Option<NonZeroU16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn among(patterns: &[Pattern], text: Option<&str>) -> bool {
    patterns.is_empty() || text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text)))
}

fn runs(pattern: &Pattern, process: Option<&Process>) -> bool {
    process.is_some_and(|process| {
        if pattern.0.contains('/') {
            process.executable.as_deref().is_some_and(|path| pattern.matches(path))
        } else {
            pattern.matches(&process.name)
        }
    })
}

/// The operator's rules in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Rules {
    all: Vec<Arc<Rule>>,
    /// What ran out until then was taken note of.
    settled: BootTime,
}

impl Rules {
    /// Replaces all; returns those that are there no more, new, or not what they were.
    pub fn replace(&mut self, rules: Vec<Arc<Rule>>) -> Vec<Arc<Rule>> {
        let before = std::mem::replace(&mut self.all, rules);
        if before.iter().map(Arc::as_ref).eq(self.all.iter().map(Arc::as_ref)) {
            return Vec::new();
        }
        let old: BTreeMap<&String, &Arc<Rule>> = before.iter().map(|rule| (&rule.says.rule, rule)).collect();
        let new: BTreeMap<&String, &Arc<Rule>> =
            self.all.iter().map(|rule| (&rule.says.rule, rule)).collect();
        let gone = |rule: &&Arc<Rule>| new.get(&rule.says.rule) != Some(rule);
        let come = |rule: &&Arc<Rule>| old.get(&rule.says.rule) != Some(rule);
        let kept = before.iter().filter(|rule| !gone(rule));
        if kept.eq(self.all.iter().filter(|rule| !come(rule))) {
            return before.iter().filter(gone).chain(self.all.iter().filter(come)).cloned().collect();
        }
        // In another order another rule may be the first that matches.
        before.iter().chain(&self.all).cloned().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.all.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that ran out since this was asked last.
    pub fn run_out(&mut self, now: BootTime) -> Vec<Arc<Rule>> {
        let settled = self.settled;
        self.settled = settled.max(now);
        let ran_out = |at: BootTime| settled < at && at <= now;
        self.all.iter().filter(|rule| rule.expires.is_some_and(ran_out)).cloned().collect()
    }

    /// When the next one runs out.
    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.all.iter().filter_map(|rule| rule.expires).filter(|at| *at > self.settled).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, then) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("web*", "web", true),
            ("*", "", true),
            ("team-*", "team-a", true),
            ("team-*", "a-team-a", false),
            ("*-db", "main-db", true),
            ("a*b*c", "abxbc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("**", "x", true),
            ("a*ab", "aab", true),
            ("", "", true),
            ("", "x", false),
            ("registry.example/*:1.*", "registry.example/shop/web:1.2", true),
            ("w?b", "web", false),
        ] {
            assert_eq!(Pattern(pattern.to_owned()).matches(text), then, "{pattern} {text}");
        }
    }

    #[test]
    fn ports_are_read_or_refused() {
        for (text, then) in [
            ("9090", Some((9090, 9090, None))),
            ("8000-8010/udp", Some((8000, 8010, Some(Protocol::Udp)))),
            ("1-65535/SCTP", Some((1, 65535, Some(Protocol::Sctp)))),
            ("0", None),
            ("65536", None),
            ("10-9", None),
            ("+80", None),
            (" 80", None),
            ("80-", None),
            ("-80", None),
            ("80/", None),
            ("80/ICMP", None),
            ("http", None),
            ("", None),
        ] {
            let found = PortRange::parse(text);
            let found = found.map(|r| (r.ports.start().get(), r.ports.end().get(), r.protocol));
            assert_eq!(found, then, "{text}");
        }
    }
}
