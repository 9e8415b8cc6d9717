//! What changed between two snapshots. Needs no agent and no file.

use portolan_engine::model::finding_code::Severity;

use super::snapshot::{Location, Port, Snapshot, Worst};

/// How the findings of one fingerprint changed; in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// There was no open finding.
    New,
    /// The worst severity rose.
    Worse,
    /// The worst severity fell.
    Better,
    /// There is no open finding any more.
    Gone,
    /// A node that had the finding did not answer, so it may still be there.
    Unknown,
}

impl Kind {
    /// Returns the name that the output uses.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }

    /// Returns true for changes that make the command fail.
    pub(super) const fn fails(self) -> bool {
        matches!(self, Self::New | Self::Worse)
    }
}

/// The change of one fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(super) kind: Kind,
    pub(super) fingerprint: String,
    pub(super) before: Option<Worst>,
    pub(super) after: Option<Worst>,
    pub(super) place: Location,
    pub(super) pods: usize,
    pub(super) note: Option<String>,
}

/// Compares two snapshots. Returns what changed: what fails first, then the most severe first.
///
/// Ports are found by cluster and fingerprint; by fingerprint alone if each side is of one cluster and the names differ, as when
/// the name was not given before.
pub(crate) fn between(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let is_renamed = old.clusters != new.clusters && old.clusters.len() < 2 && new.clusters.len() < 2;
    if is_renamed { compared(&old.without_cluster(), &new.without_cluster()) } else { compared(old, new) }
}

fn compared(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let keys = old.ports.keys().chain(new.ports.keys().filter(|key| !old.ports.contains_key(*key)));
    let mut changes: Vec<Change> = keys
        .filter_map(|key| {
            let (before, after) = (old.ports.get(key), new.ports.get(key));
            let (kind, note) = change(before, after, old, new)?;
            let shown = after.filter(|port| port.worst.is_some()).or(before)?;
            Some(Change {
                kind,
                fingerprint: key.1.clone(),
                before: before.and_then(|port| port.worst.clone()),
                after: after.and_then(|port| port.worst.clone()),
                place: shown.place.clone(),
                pods: shown.pods,
                note,
            })
        })
        .collect();
    changes.sort_by_cached_key(|change| {
        (change.kind, std::cmp::Reverse(heaviest(change)), change.place.clone(), change.fingerprint.clone())
    });
    changes
}

fn heaviest(change: &Change) -> Option<Severity> {
    [&change.before, &change.after].into_iter().flatten().map(|worst| worst.severity).max()
}

/// Returns the change of one fingerprint, and what else is to be said; `None` if nothing changed.
fn change(
    before: Option<&Port>,
    after: Option<&Port>,
    old: &Snapshot,
    new: &Snapshot,
) -> Option<(Kind, Option<String>)> {
    let severity = |port: Option<&Port>| port.and_then(|port| Some(port.worst.as_ref()?.severity));
    match (severity(before), severity(after)) {
        (None, None) => None,
        (None, Some(_)) => Some((Kind::New, new_note(before, after, old))),
        (Some(was), Some(is)) if is > was => Some((Kind::Worse, None)),
        (Some(was), Some(is)) if is == was => None,
        (Some(_), is) => {
            let before = before?;
            // The folded severity is that of the worst pods: without their nodes, it says nothing about them.
            let decisive = if is.is_none() { &before.nodes } else { &before.worst_nodes };
            let silent: Vec<&str> = decisive.intersection(&new.missing).map(String::as_str).collect();
            if !silent.is_empty() {
                let nodes = silent.join(", ");
                return Some((Kind::Unknown, Some(format!("its node did not answer in full: {nodes}"))));
            }
            let rule = after.and_then(|port| port.suppressed_by.as_ref());
            match (is, rule) {
                (None, Some(rule)) => Some((Kind::Gone, Some(format!("suppressed by {rule}")))),
                (None, None) => Some((Kind::Gone, None)),
                (Some(_), _) => Some((Kind::Better, None)),
            }
        }
    }
}

/// Says why something new may have been there before.
fn new_note(before: Option<&Port>, after: Option<&Port>, old: &Snapshot) -> Option<String> {
    if let Some(rule) = before.and_then(|port| port.suppressed_by.as_ref()) {
        return Some(format!("was suppressed by {rule}"));
    }
    let nodes = &after?.nodes;
    let unseen = !nodes.is_empty() && nodes.is_subset(&old.missing);
    unseen.then(|| "its node had not answered before".to_owned())
}
