//! How messages name an object of a manifest.

use std::fmt;

use portolan_engine::model::pod::Pod;
use portolan_engine::read::plain_text::escape;

/// Name of an object within the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", escape(&self.kind), escape(&self.namespace), escape(&self.name))
    }
}

/// Returns the name of the object that made a pod.
pub fn name_of_pod(pod: &Pod) -> ObjectName {
    // A template's pod has the workload's name; a Pod has that of its owner only by chance.
    let workload = pod.workload.as_ref().filter(|workload| workload.name == pod.name);
    ObjectName {
        kind: workload.map_or("Pod", |workload| &workload.kind).to_owned(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    }
}
