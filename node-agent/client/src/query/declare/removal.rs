//! Drafts a patch that removes the declaration of a port that nothing serves.

use std::collections::BTreeMap;

use portolan_report::policy_basis::PolicyBasis;
use serde_json::{Value, json};

use super::workload::{Way, Workload};
use crate::query::policy::remark::{escape_remark, list_names};

/// A drafted removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The patch, with a comment above.
    pub yaml: String,
    /// Warnings to consider before applying the patch.
    pub warnings: Vec<String>,
    /// Command that applies it; `None` if the manifest must be edited.
    pub command: Option<String>,
}

/// Drafts the removal of a port from the containers that declare it, from the facts of one or more agents.
///
/// # Errors
/// One line, if the pods have no common manifest, no container declares the port, or a patch would remove more than the port.
pub fn removal(bases: &[PolicyBasis], port: u16, protocol: &str) -> Result<Removal, String> {
    let workload = Workload::of(bases).map_err(|error| error.to_string())?;
    let pods = || bases.iter().flat_map(|basis| &basis.pods);
    let mut lists: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for container in pods().flat_map(|pod| &pod.containers) {
        let of_number = container.ports.iter().filter(|entry| entry.port == port);
        let (of_protocol, others): (Vec<_>, Vec<_>) = of_number.partition(|entry| entry.protocol == protocol);
        if of_protocol.is_empty() {
            continue;
        }
        if !others.is_empty() {
            return Err(format!(
                "container {} declares port {port} for several protocols, and a patch knows a port by its number alone: edit the \
                 manifest",
                escape_remark(&container.name)
            ));
        }
        let list = if container.kind == "sidecar" { "initContainers" } else { "containers" };
        let ports = json!([{ "$patch": "delete", "containerPort": port }]);
        let entry = json!({ "name": container.name, "ports": ports });
        lists.entry(list).or_default().insert(&container.name, entry);
    }
    if lists.is_empty() {
        return Err(format!("no container of the live pods declares port {port}/{protocol}"));
    }
    let names = list_names(lists.values().flat_map(BTreeMap::keys).copied());
    let spec: BTreeMap<&str, Vec<Value>> =
        lists.into_iter().map(|(list, entries)| (list, entries.into_values().collect())).collect();
    let patch = workload.path.iter().rev().fold(json!(spec), |inner, field| json!({ *field: inner }));
    let patch = serde_saphyr::to_string(&patch).map_err(|error| error.to_string())?;
    let Workload { namespace, name, .. } = &workload;
    let title =
        format!("Removes port {port}/{protocol} of {names} from {} {namespace}/{name}.", workload.resource());
    let mut yaml = format!("# {}\n", escape_remark(&title));
    let then = match workload.way {
        Way::Patch(text) | Way::Edit(text) => text,
    };
    yaml.push_str(&format!("# {}.\n{}\n", escape_remark(then), patch.trim_end()));
    let mut warnings = vec![then.to_owned()];
    let serves = pods()
        .flat_map(|pod| &pod.ports)
        .any(|known| known.port == port && known.protocol == protocol && known.exposure.is_some());
    if serves {
        warnings.push("another pod of the workload serves the port: it would be undeclared there".to_owned());
    }
    if matches!(workload.way, Way::Patch(_)) {
        warnings.push(
            "if a chart, GitOps or an operator writes the workload, remove the port there: it would undo the patch".to_owned(),
        );
    }
    Ok(Removal { yaml, warnings, command: workload.command("remove.yaml") })
}
