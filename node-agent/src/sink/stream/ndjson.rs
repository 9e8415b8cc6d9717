//! Writes a report as one NDJSON line, shorter than [`MAX_LINE`] whatever its content. Parts that do not fit are left out,
//! and `truncated` is set.

use bytes::Bytes;
use portolan_report::wire::{Listener, Report, Traffic};

/// Upper bound of a line's length in bytes, including the newline. Lines are shorter.
pub const MAX_LINE: usize = 16 * 1024;

/// Returns the report as JSON with a newline. A line that is too long loses peers first, then declarations,
/// policies, other processes and the executables. `None` if it is still too long, which converted reports never are.
#[must_use]
pub fn ndjson(report: &Report) -> Option<Bytes> {
    let line = serialise(report)?;
    if line.len() < MAX_LINE {
        return Some(line);
    }
    let mut shorter = report.clone();
    for keep in [10, 4, 0] {
        cut_peers(&mut shorter, keep);
        let line = serialise(&shorter)?;
        if line.len() < MAX_LINE {
            return Some(line);
        }
    }
    cut_lists(&mut shorter);
    serialise(&shorter).filter(|line| line.len() < MAX_LINE)
}

fn serialise(report: &Report) -> Option<Bytes> {
    let mut line = serde_json::to_vec(report).ok()?;
    line.push(b'\n');
    Some(line.into())
}

/// Keeps at most `keep` peers in each traffic.
fn cut_peers(report: &mut Report, keep: usize) {
    for traffic in traffic_of(report) {
        if traffic.peers.len() > keep {
            traffic.peers.truncate(keep);
            traffic.truncated = true;
        }
    }
}

fn traffic_of(report: &mut Report) -> Vec<&mut Traffic> {
    match report {
        Report::Finding(finding) => {
            let inner = finding.listener.as_mut().map(|listener| &mut listener.traffic);
            std::iter::once(&mut finding.traffic).chain(inner).collect()
        }
        Report::Listener(listener) => vec![&mut listener.traffic],
        Report::Connection(_) | Report::Loss(_) | Report::AgentStatus(_) => Vec::new(),
    }
}

/// Shortens the lists that a manifest can make long.
fn cut_lists(report: &mut Report) {
    let shorten = |listener: &mut Listener| {
        listener.declaration.declared_by.truncate(2);
        listener.declaration.explained_by.truncate(2);
        listener.other_processes.truncate(2);
        listener.other_processes.iter_mut().for_each(|process| process.executable = None);
        listener.traffic.truncated = true;
        if let Some(process) = &mut listener.process {
            process.executable = None;
        }
    };
    match report {
        Report::Finding(finding) => {
            finding.declaration.declared_by.truncate(2);
            finding.declaration.explained_by.truncate(2);
            finding.policy.policies.truncate(2);
            finding.traffic.truncated = true;
            if let Some(listener) = &mut finding.listener {
                shorten(listener);
            }
        }
        Report::Listener(listener) => shorten(listener),
        Report::AgentStatus(status) => {
            status.sources.truncate(8);
            status.hooks.truncate(16);
        }
        Report::Connection(_) | Report::Loss(_) => {}
    }
}

#[cfg(test)]
#[path = "ndjson_tests.rs"]
mod tests;
