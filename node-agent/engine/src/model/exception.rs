//! Exception rules: what a rule says, and whether it matches a finding. A rule turns an open finding into a suppressed
//! one.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::model::finding::Suppression;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, Protocol};
use crate::model::listener::Exposure;
use crate::model::pod::{Container, Pod};
use crate::model::process::Process;

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name and reason, as findings show them.
    pub suppression: Arc<Suppression>,
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
    /// One process of each program that serves the port, `None` for an unknown one. The slice is `None` where the finding is
    /// not about sockets.
    pub processes: Option<&'a [Option<&'a Process>]>,
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
            && (self.process.is_empty()
                || candidate.processes.is_some_and(|all| all.iter().copied().all(runs_one)))
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
