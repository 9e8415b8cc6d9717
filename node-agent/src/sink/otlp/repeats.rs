//! Which tellings of a finding are worth a record: each that says something new, and of those that only count on, as one
//! comes every second while a port is called, one a minute.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portolan_report::wire::Finding;

/// What only counts on waits for so long.
const SELDOM: Duration = Duration::from_secs(60);
/// Findings that are remembered at most; above that all are forgotten, and told once more.
const MAX_KNOWN: usize = 65_536;

/// The last record of each open finding: what it said, and when, in nanoseconds since 1970.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<String, (u64, u64)>>);

impl Repeats {
    /// Whether a record is due; if so it is taken for sent.
    #[must_use]
    pub fn is_due(&self, finding: &Finding, now: u64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if finding.state == "resolved" {
            known.remove(&finding.id);
            return true;
        }
        let said = said(finding);
        if let Some((before, at)) = known.get(&finding.id)
            && *before == said
            && Duration::from_nanos(now.abs_diff(*at)) < SELDOM
        {
            return false;
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(finding.id.clone(), (said, now));
        true
    }
}

/// Everything but counts, times and the message, which names counts.
fn said(finding: &Finding) -> u64 {
    let mut hasher = DefaultHasher::new();
    let pod = finding.pod.as_ref().map(|pod| &pod.uid);
    let process = finding.listener.as_ref().and_then(|listener| listener.process.as_ref());
    let mut origins: Vec<&str> = finding.traffic.peers.iter().map(|peer| peer.origin.as_str()).collect();
    origins.sort_unstable();
    origins.dedup();
    (&finding.state, &finding.code, &finding.severity, &finding.exposure).hash(&mut hasher);
    (&finding.policy.verdict, &finding.declaration.status, origins).hash(&mut hasher);
    (pod, process.map(|process| (process.pid, &process.name)), finding.port).hash(&mut hasher);
    finding.suppressed_by.as_ref().map(|by| &by.rule).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::otlp::tests::finding;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_new_is_due_at_once_and_what_counts_on_once_a_minute() {
        let repeats = Repeats::default();
        let mut finding = finding();
        assert!(repeats.is_due(&finding, 0));
        finding.traffic.connections += 1;
        finding.message.push_str(" 4 times");
        assert!(!repeats.is_due(&finding, SECOND));
        finding.traffic.peers[0].origin = "external".to_owned();
        assert!(repeats.is_due(&finding, 2 * SECOND));
        finding.code = "undeclared-external".to_owned();
        assert!(repeats.is_due(&finding, 3 * SECOND));
        assert!(!repeats.is_due(&finding, 62 * SECOND));
        assert!(repeats.is_due(&finding, 63 * SECOND));
        for state in ["resolved", "open", "resolved"] {
            finding.state = state.to_owned();
            assert!(repeats.is_due(&finding, 64 * SECOND), "{state}");
        }
    }
}
