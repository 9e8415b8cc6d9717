//! Writes drafted declarations as a patch in YAML or JSON, or as a component of kustomize.

use std::fmt::Write;

use super::args::PatchFormat;
use super::draft::Draft;
use super::workload::Workload;

/// What a draft is written as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Text for stdout.
    pub text: String,
    /// Lines for stderr: the remarks, where the format has no comments.
    pub messages: Vec<String>,
}

/// Writes a draft. Remarks are escaped, so that none can end its comment.
///
/// # Errors
/// The serializer's message if the patch cannot be written.
pub fn written(draft: &Draft, format: PatchFormat) -> Result<Written, String> {
    if draft.is_empty() {
        let Workload { namespace, name, .. } = &draft.workload;
        let resource = draft.workload.resource();
        let nothing = if draft.lacks_containers {
            format!(
                "nothing can be declared: which containers of {resource} {namespace}/{name} serve its ports is unknown; an agent \
                 with `--metadata cri` knows the container"
            )
        } else {
            format!(
                "nothing to declare: {resource} {namespace}/{name} declares every port in use that it can"
            )
        };
        let messages = std::iter::once(nothing).chain(draft.remarks.clone()).collect();
        return Ok(Written { text: String::new(), messages });
    }
    let patch = draft.spec.clone().at(draft.workload.path);
    if format == PatchFormat::Json {
        let text = serde_json::to_string_pretty(&patch).map_err(|error| error.to_string())?;
        return Ok(Written { text: text + "\n", messages: draft.remarks.clone() });
    }
    let patch = serde_saphyr::to_string(&patch).map_err(|error| error.to_string())?;
    let mut text: String = draft.remarks.iter().map(|remark| format!("# {remark}\n")).collect();
    match (format, draft.workload.api) {
        (PatchFormat::Kustomize, Some(api)) => text.push_str(&kustomize(&draft.workload, api, &patch)),
        _ => text.push_str(patch.trim_end()),
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(Written { text, messages: Vec::new() })
}

/// Returns the kustomization.yaml of a component, which a kustomization names whatever else it has. It names no namespace: kustomize
/// compares that of the manifest before it sets its own, and a target that matches nothing is silently left out.
fn kustomize(workload: &Workload, (group, version): (&str, &str), patch: &str) -> String {
    let Workload { kind, name, .. } = workload;
    let api_version = workload.api_version().unwrap_or_default();
    let mut text = String::from(
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n  - target:\n",
    );
    if !group.is_empty() {
        let _ = writeln!(text, "      group: {group}");
    }
    let _ = write!(
        text,
        "      version: {version}\n      kind: {kind}\n      name: \"{name}\"\n    patch: |-\n      apiVersion: {api_version}\n      \
         kind: {kind}\n      metadata:\n        name: \"{name}\"\n"
    );
    for line in patch.lines() {
        let _ = writeln!(text, "      {line}");
    }
    text
}
