//! Pods of this node from the API server.

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::{Pod, PodSource};

use crate::source::kubernetes::kind::{Kind, Parts};
use crate::source::kubernetes::objects::fault::Fault;
use crate::source::kubernetes::objects::fields::{Cuts, Fields};
use crate::source::kubernetes::objects::metadata::Metadata;
use crate::source::kubernetes::objects::pod::{NETNS_ANNOTATION, PodSpec, PodStatus, identity, pod};
use crate::state::Source;

/// This source, in the engine's inputs.
const SOURCE: PodSource = PodSource::ApiServer;

/// Source of the pods of one node.
pub struct NodePods {
    node: String,
}

impl NodePods {
    #[must_use]
    pub fn new(node: String) -> Self {
        Self { node }
    }
}

impl Kind for NodePods {
    type Spec = PodSpec;
    type Status = PodStatus;
    type Key = PodUid;
    type Item = Pod;

    const SOURCE: Source = Source::Pods;
    const NAME: &'static str = "Pod";
    const PATH: &'static str = "/api/v1/pods";
    const PARTS: Parts = Parts::Whole;
    const MOST: usize = 4096;

    fn field_selector(&self) -> Option<String> {
        Some(format!("spec.nodeName={}", self.node))
    }

    fn key(&self, metadata: &Metadata) -> Result<PodUid, Fault> {
        identity(metadata, Some(&self.node))?.uid.ok_or_else(|| Fault::missing("metadata.uid"))
    }

    /// Pods of other nodes have no socket here: a proxy that ignores the field selector may send them.
    fn read(
        &self,
        mut metadata: Metadata,
        spec: Option<Fields<PodSpec>>,
        status: Option<Fields<PodStatus>>,
        cuts: &mut Cuts,
    ) -> Result<Option<Pod>, Fault> {
        let node = spec.as_ref().and_then(|spec| spec.0.node_name.as_deref());
        if node.is_some_and(|node| node != self.node) {
            return Ok(None);
        }
        // Only manifests bind a pod to a netns: an author of a pod could claim the netns of another.
        metadata.remove_annotation(NETNS_ANNOTATION);
        pod(metadata, spec, status, cuts)
    }

    fn all(&mut self, pods: Vec<Pod>) -> Input {
        Input::Pods { source: SOURCE, pods }
    }

    fn changed(&mut self, pod: Pod) -> Input {
        Input::PodChanged { source: SOURCE, pod: Box::new(pod) }
    }

    fn gone(&mut self, uid: PodUid) -> Input {
        Input::PodGone { source: SOURCE, uid }
    }

    fn unavailable(&mut self) -> Option<Input> {
        // Known pods stay, since the runtime and the cgroups still name them.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::fault::parse;
    use crate::source::kubernetes::objects::object::Object;

    #[test]
    fn an_author_of_a_pod_cannot_claim_a_netns() {
        for claimed in ["/run/netns/cni-1", "web", "/proc/1/ns/net"] {
            let json = format!(
                r#"{{"metadata":{{"namespace":"shop","name":"a","uid":"u","annotations":{{"{NETNS_ANNOTATION}":"{claimed}"}}}},
                    "spec":{{"nodeName":"n","containers":[{{"name":"c"}}]}}}}"#
            );
            let object: Object<PodSpec, PodStatus> =
                parse(&mut serde_json::Deserializer::from_str(&json)).expect("an object");
            let read = NodePods::new("n".to_owned()).read(
                object.metadata.0,
                object.spec,
                object.status,
                &mut Cuts::default(),
            );
            assert_eq!(read.expect("a valid pod").expect("a pod of this node").netns_path, None);
        }
    }
}
