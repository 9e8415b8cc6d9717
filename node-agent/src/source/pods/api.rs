//! Pods of this node from the API server.

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::{Pod, PodSource};

use crate::source::kubernetes::kind::{Kind, Parts};
use crate::source::kubernetes::objects::fault::Fault;
use crate::source::kubernetes::objects::fields::{Cuts, Fields};
use crate::source::kubernetes::objects::metadata::Metadata;
use crate::source::kubernetes::objects::pod::{PodSpec, PodStatus, identity, pod};
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
        metadata: Metadata,
        spec: Option<Fields<PodSpec>>,
        status: Option<Fields<PodStatus>>,
        cuts: &mut Cuts,
    ) -> Result<Option<Pod>, Fault> {
        let node = spec.as_ref().and_then(|spec| spec.0.node_name.as_deref());
        if node.is_some_and(|node| node != self.node) {
            return Ok(None);
        }
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
