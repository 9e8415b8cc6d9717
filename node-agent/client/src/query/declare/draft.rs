//! Drafts a patch that declares the ports in use, with remarks to read before applying it. Deterministic: the same facts
//! give the same draft.

use std::collections::{BTreeMap, BTreeSet};

use portolan_report::policy_basis::{PolicyBasis, PolicyPod};

use super::args::PatchFormat;
use super::containers::{Containers, Kind};
use super::error::DeclareError;
use super::patch::{Container, Entry, PodSpec, Port};
use super::port_name;
use super::remarks::{Notes, remarks};
use super::used_ports::{Decision, UNKNOWN_CONTAINER, undeclared};
use super::workload::{Way, Workload};
use crate::query::policy::remark::escape_remark;

/// Drafted declarations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The object whose manifest lists the ports.
    pub(super) workload: Workload,
    /// Ports to add; without containers if there is nothing to declare.
    pub spec: PodSpec,
    /// Remarks of one line each, escaped for a YAML comment and for a terminal.
    pub remarks: Vec<String>,
    /// Warnings to consider before applying the patch. The remarks contain them, too.
    pub warnings: Vec<String>,
    /// True if an agent left out some pods or ports.
    pub is_partial: bool,
    /// True if a port in use is left out because its container is unknown.
    pub lacks_containers: bool,
}

impl Draft {
    /// Returns true if there is nothing to declare.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spec.containers.is_empty() && self.spec.init_containers.is_empty()
    }

    /// Returns the command that applies the patch from the file declare.yaml; `None` if there is nothing to declare, or the
    /// manifest must be edited.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        self.workload.command("declare.yaml").filter(|_| !self.is_empty())
    }
}

/// Drafts the declarations of the pods of one workload, from the facts of one or more agents. With `all`, also of ports that
/// nobody called and nothing explains.
///
/// # Errors
/// [`DeclareError`] if the pods have no common manifest that can be patched.
pub fn draft(bases: &[PolicyBasis], all: bool, format: PatchFormat) -> Result<Draft, DeclareError> {
    let workload = Workload::of(bases)?;
    if format == PatchFormat::Kustomize && workload.api.is_none() {
        return Err(DeclareError::CustomKind { kind: workload.kind });
    }
    let pods: Vec<&PolicyPod> = bases.iter().flat_map(|basis| &basis.pods).collect();
    let containers = Containers::of(pods.iter().copied());
    if containers.is_empty() {
        return Err(DeclareError::OldAgent);
    }
    let mut notes = Notes::default();
    let added = added(&pods, &containers, all, &mut notes);
    // A strategic merge patch finds a port by its number alone. kustomize finds it by number and protocol, but only if every
    // port of the manifest names its protocol, which an agent cannot know. A manifest is merged by hand.
    let by_number = format == PatchFormat::Kustomize || matches!(workload.way, Way::Patch(_));
    let mut spec = PodSpec::default();
    for (name, ports) in added {
        let ports = entries(&name, ports, &containers, by_number, &mut notes);
        let list = match containers.kind(&name) {
            Some(Kind::Sidecar) => &mut spec.init_containers,
            _ => &mut spec.containers,
        };
        list.push(Container { name, ports });
    }
    notes.add_general(&pods, &spec);
    let is_partial = bases.iter().any(|basis| basis.truncated);
    if is_partial {
        notes.warnings.push("an agent told only a part of the pods and ports".to_owned());
    }
    let warnings = notes.warnings.iter().map(|text| escape_remark(text)).collect();
    let remarks = remarks(bases, &workload, &spec, &notes, format);
    let lacks_containers = notes.lacks_containers;
    Ok(Draft { workload, spec, remarks, warnings, is_partial, lacks_containers })
}

/// Returns the ports to add, by container.
fn added(
    pods: &[&PolicyPod],
    containers: &Containers<'_>,
    all: bool,
    notes: &mut Notes,
) -> BTreeMap<String, Vec<Port>> {
    let mut taken = containers.port_names();
    // A Service that looks for a name would begin to send to the port that gets it.
    taken.extend(pods.iter().flat_map(|pod| &pod.missing_names).cloned());
    let mut added: BTreeMap<String, Vec<Port>> = BTreeMap::new();
    let mut storm = BTreeSet::new();
    for ((number, protocol), port) in undeclared(pods.iter().copied()) {
        let title = format!("{number}/{protocol}");
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            notes.left_out.push(format!("  {title}: no container can declare this protocol"));
            continue;
        }
        match port.decide((number, protocol), containers, all) {
            Decision::Storm => drop(storm.insert(number)),
            Decision::LeaveOut(why) if why.starts_with(UNKNOWN_CONTAINER) => {
                notes.lacks_containers = true;
                notes.left_out.push(format!("  {title}: {why}"));
            }
            Decision::LeaveOut(why) => notes.left_out.push(format!("  {title}: {why}")),
            Decision::Add { container, why, warning } => {
                let name = port_name::choose(&port.names((number, protocol)), (number, protocol), &mut taken);
                let named = name.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
                notes.added.push(format!("  {title} of container {container}{named}: {why}"));
                notes.warnings.extend(warning.map(|warning| format!("port {title} {warning}")));
                let protocol = protocol.to_owned();
                let port = Port { name, container_port: number, protocol, host_port: None };
                added.entry(container).or_default().push(port);
            }
        }
    }
    if let (Some(first), Some(last)) = (storm.first(), storm.last()) {
        notes.left_out.push(format!(
            "  {} ports between {first} and {last}: the pod serves very many undeclared ports (port-storm); look at what runs in it \
             first",
            storm.len()
        ));
    }
    added
}

/// Returns the list for a container: the new ports, or all of its ports if a patch that knows a port by its number alone would
/// lose one.
fn entries(
    name: &str,
    ports: Vec<Port>,
    containers: &Containers<'_>,
    by_number: bool,
    notes: &mut Notes,
) -> Vec<Entry> {
    let numbers: BTreeSet<u16> = ports.iter().map(|port| port.container_port).collect();
    let is_twice =
        numbers.len() < ports.len() || numbers.iter().any(|number| containers.declares_number(name, *number));
    let new = ports.into_iter().map(Entry::Port);
    if !by_number || !is_twice {
        return new.collect();
    }
    let (before, agree) = containers.entries(name);
    notes.replaced.push(format!(
        "The patch replaces the whole list of ports of container {name}, because it has one number for two protocols, and the \
         patch may find a port by its number alone. A hostIP of an entry is not kept."
    ));
    if !agree {
        notes.warnings.push(format!("the pods declare different ports in container {name}: check the list"));
    }
    let replace = Entry::Replace { patch: "replace" };
    std::iter::once(replace).chain(before).chain(new).collect()
}
