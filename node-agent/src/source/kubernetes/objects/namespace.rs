//! Namespaces: their labels, and the annotations that the agent reads.

use portolan_engine::model::namespace::Namespace;

use super::fault::Fault;
use super::fields::Cuts;
use super::metadata::Metadata;

/// Converts a namespace.
///
/// # Errors
/// The first fault.
pub fn namespace(mut metadata: Metadata, cuts: &mut Cuts) -> Result<Namespace, Fault> {
    Ok(Namespace {
        name: metadata.name()?,
        labels: metadata.take_labels("metadata.labels")?,
        annotations: metadata.take_annotations(cuts),
    })
}
