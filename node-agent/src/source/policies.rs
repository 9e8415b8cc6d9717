//! NetworkPolicies of the API server.

use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::NetworkPolicy;
use serde::de::IgnoredAny;

use crate::source::kubernetes::kind::{Kind, Parts};
use crate::source::kubernetes::objects::fault::Fault;
use crate::source::kubernetes::objects::fields::{Cuts, Fields};
use crate::source::kubernetes::objects::metadata::Metadata;
use crate::source::kubernetes::objects::network_policy::{PolicySpec, network_policy, unreadable};
use crate::state::Source;

/// Source of the NetworkPolicies of all namespaces.
pub struct NetworkPolicies;

impl Kind for NetworkPolicies {
    type Spec = PolicySpec;
    type Status = IgnoredAny;
    type Key = (String, String);
    type Item = NetworkPolicy;

    const SOURCE: Source = Source::NetworkPolicies;
    const NAME: &'static str = "NetworkPolicy";
    const PATH: &'static str = "/apis/networking.k8s.io/v1/networkpolicies";
    const PARTS: Parts = Parts::Whole;
    const MOST: usize = 65_536;

    fn key(&self, metadata: &Metadata) -> Result<Self::Key, Fault> {
        metadata.key()
    }

    fn read(
        &self,
        metadata: Metadata,
        spec: Option<Fields<PolicySpec>>,
        _status: Option<Fields<IgnoredAny>>,
        _cuts: &mut Cuts,
    ) -> Result<Option<NetworkPolicy>, Fault> {
        network_policy(&metadata, spec)
    }

    fn unreadable((namespace, name): &Self::Key) -> Option<NetworkPolicy> {
        Some(unreadable(namespace.clone(), name.clone()))
    }

    fn in_part(policy: NetworkPolicy) -> Option<NetworkPolicy> {
        Some(unreadable(policy.namespace, policy.name))
    }

    fn all(&mut self, policies: Vec<NetworkPolicy>) -> Input {
        Input::NetworkPolicies(Listing::All(policies))
    }

    fn changed(&mut self, policy: NetworkPolicy) -> Input {
        Input::NetworkPolicies(Listing::Changed(Box::new(policy)))
    }

    fn gone(&mut self, (namespace, name): Self::Key) -> Input {
        Input::NetworkPolicies(Listing::Gone { namespace, name })
    }

    fn unavailable(&mut self) -> Option<Input> {
        Some(Input::NetworkPolicies(Listing::Unavailable))
    }
}
