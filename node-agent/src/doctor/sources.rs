//! The part of `portolan doctor` that asks the sources of pods: what is there, and how it is reached.

use std::path::Path;

use crate::config::{self, MetadataSource};
use crate::doctor::{Check, Needed, check};
use crate::source::pods::cri;

/// One row for each source that was asked for, or that could be there.
#[must_use]
pub fn checks(metadata: &[String]) -> Vec<Check> {
    let asked = match config::metadata_sources(metadata) {
        Ok(asked) => asked,
        Err(error) => {
            let wrong = Err((error.to_string(), "see portolan agent --help".to_owned()));
            return vec![check("pod metadata", Needed::ByNothing, wrong)];
        }
    };
    let sources = if asked.is_empty() { vec![MetadataSource::Cri(None)] } else { asked };
    let row = |source| match source {
        MetadataSource::Cri(socket) => {
            Some(check("container runtime", Needed::ByNothing, container_runtime(socket.as_deref())))
        }
        // The API server has rows of its own, a file is read where it is used.
        MetadataSource::File(_) | MetadataSource::Kubernetes => None,
    };
    sources.into_iter().filter_map(row).collect()
}

fn container_runtime(socket: Option<&Path>) -> Result<String, (String, String)> {
    let problem = |found: String| {
        let fix = "give the agent its socket: --metadata cri=SOCKET; in a pod mount the socket's directory";
        (found, fix.to_owned())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| problem(error.to_string()))?;
    let found = runtime.block_on(cri::probe(socket)).map_err(|error| problem(error.to_string()))?;
    Ok(format!(
        "{} {} at {}, {} sandboxes, {}",
        found.name,
        found.version,
        found.socket.display(),
        found.sandboxes,
        found.notice
    ))
}
