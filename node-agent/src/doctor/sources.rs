//! Checks the sources of pods: whether they answer, and at which address.

use std::path::Path;

use super::check::{Check, CheckResult, NeededBy, check, problem};
use crate::config::{self, MetadataSource};
use crate::source::pods::cri;

/// Returns one row for each source that `--metadata` names, by default for the container runtime.
pub fn checks(metadata: &[String]) -> Vec<Check> {
    let asked = match config::metadata_sources(metadata) {
        Ok(asked) => asked,
        Err(error) => {
            let wrong = Err(problem(error.to_string(), "see portolan agent --help"));
            return vec![check("pod metadata", NeededBy::Nothing, wrong)];
        }
    };
    let sources = if asked.is_empty() { vec![MetadataSource::Cri(None)] } else { asked };
    let row = |source| match source {
        MetadataSource::Cri(socket) => {
            Some(check("container runtime", NeededBy::Nothing, container_runtime(socket.as_deref())))
        }
        // The API server has rows of its own; a file is read when it is used.
        MetadataSource::File(_) | MetadataSource::Kubernetes => None,
    };
    sources.into_iter().filter_map(row).collect()
}

fn container_runtime(socket: Option<&Path>) -> CheckResult {
    let fix = "give the agent its socket: --metadata cri=SOCKET; in a pod mount the socket's directory";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| problem(error.to_string(), fix))?;
    let found = runtime.block_on(cri::probe(socket)).map_err(|error| problem(error.to_string(), fix))?;
    Ok(format!(
        "{} {} at {}, {} sandboxes, {}",
        found.name,
        found.version,
        found.socket.display(),
        found.sandboxes,
        found.notice
    ))
}
