//! Filter of repeated findings: a changed finding becomes a record at once, and one with only new counts at most once a
//! minute. The pipeline publishes a finding with traffic up to once a second.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portolan_report::wire::Finding;

/// Minimum interval of records of a finding in which only counts change.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of findings that are remembered. Above it all are forgotten, which costs one more record of each.
const MAX_KNOWN: usize = 65_536;

/// The last record of each open finding: a hash of its content, and its time in nanoseconds since 1970.
#[derive(Debug, Default)]
pub struct RepeatFilter(Mutex<HashMap<String, (u64, u64)>>);

impl RepeatFilter {
    /// Returns true if a record is due, and remembers it as sent.
    #[must_use]
    pub fn is_due(&self, finding: &Finding, now: u64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if finding.state == "resolved" {
            known.remove(&finding.id);
            return true;
        }
        let content = content_hash(finding);
        if let Some((before, at)) = known.get(&finding.id)
            && *before == content
            && Duration::from_nanos(now.abs_diff(*at)) < REPEAT_INTERVAL
        {
            return false;
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(finding.id.clone(), (content, now));
        true
    }
}

/// Hashes everything but counts, times and the message, which contains counts.
fn content_hash(finding: &Finding) -> u64 {
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
    fn a_change_is_due_at_once_and_new_counts_once_a_minute() {
        let filter = RepeatFilter::default();
        let mut finding = finding();
        assert!(filter.is_due(&finding, 0));
        finding.traffic.connections += 1;
        finding.message.push_str(" 4 times");
        assert!(!filter.is_due(&finding, SECOND));
        finding.traffic.peers[0].origin = "external".to_owned();
        assert!(filter.is_due(&finding, 2 * SECOND));
        finding.code = "undeclared-external".to_owned();
        assert!(filter.is_due(&finding, 3 * SECOND));
        assert!(!filter.is_due(&finding, 62 * SECOND));
        assert!(filter.is_due(&finding, 63 * SECOND));
        for state in ["resolved", "open", "resolved"] {
            finding.state = state.to_owned();
            assert!(filter.is_due(&finding, 64 * SECOND), "{state}");
        }
    }
}
