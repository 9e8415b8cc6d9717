//! Workloads, whose template makes pods. A pod has the labels and annotations of the template, never those of the workload;
//! only the annotation that binds it to a netns may be in either.

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::pod::{Pod, Workload};
use serde::Deserialize;

use super::fault::Fault;
use super::fields::{Cuts, Fields};
use super::metadata::Metadata;
use super::pod::{PodSpec, PodStatus, made_of, netns_annotation, uid_without};

/// `spec` of a Deployment and of the other kinds with `spec.template`.
#[derive(Debug, Deserialize)]
pub struct WorkloadSpec {
    template: Fields<Template>,
}

/// `spec` of a CronJob.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronJobSpec {
    job_template: Fields<JobTemplate>,
}

#[derive(Debug, Deserialize)]
struct JobTemplate {
    spec: Fields<WorkloadSpec>,
}

#[derive(Debug, Deserialize)]
struct Template {
    #[serde(default)]
    metadata: Fields<Metadata>,
    spec: Fields<PodSpec>,
}

impl From<CronJobSpec> for WorkloadSpec {
    fn from(spec: CronJobSpec) -> Self {
        spec.job_template.0.spec.0
    }
}

/// Converts the template of a workload into a pod that has the workload's name. `path` is that of the template.
///
/// # Errors
/// The first fault.
pub fn template_pod(
    kind: &str,
    path: &str,
    metadata: &Metadata,
    spec: Option<Fields<WorkloadSpec>>,
    cuts: &mut Cuts,
) -> Result<Pod, Fault> {
    let Fields(WorkloadSpec { template: Fields(template) }) = spec.ok_or_else(|| Fault::missing("spec"))?;
    let (namespace, name) = metadata.key()?;
    let mut of_pods = template.metadata.0;
    let netns = match netns_annotation(&format!("{path}.metadata"), &of_pods)? {
        Some(netns) => Some(netns),
        None => netns_annotation("metadata", metadata)?,
    };
    let labels = of_pods.take_labels(&format!("{path}.metadata.labels"))?;
    let made = made_of(template.spec.0, &PodStatus::default(), cuts);
    let uid = metadata.uid.clone().filter(|uid| !uid.is_empty()).map(PodUid);
    Ok(Pod {
        uid: uid.unwrap_or_else(|| uid_without(kind, &namespace, &name)),
        workload: Some(Workload { kind: kind.to_owned(), name: name.clone() }),
        namespace,
        name,
        labels,
        annotations: of_pods.take_annotations(cuts),
        netns_path: netns.filter(|_| !made.host_network),
        ..made
    })
}
