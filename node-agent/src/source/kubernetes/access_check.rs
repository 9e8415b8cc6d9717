//! Checks once, for `portolan doctor`, whether the API server lets the agent list and watch what it needs.

use std::path::PathBuf;
use std::time::Duration;

use super::kind::Kind;
use crate::kubernetes_api::access::{ApiAccess, is_configured};
use crate::kubernetes_api::fault::ApiFault;
use crate::source::namespaces::Namespaces;
use crate::source::pods::api::NodePods;
use crate::source::policies::NetworkPolicies;
use crate::source::services::Services;

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Result for one kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessCheck {
    /// Plural name of the kind, as in its path.
    pub resource: &'static str,
    pub result: Result<(), ApiFault>,
}

/// Lists one object of each kind and opens a watch. `None`: neither a pod's credentials nor a kubeconfig name an API server.
pub async fn check_all(kubeconfig: Option<PathBuf>) -> Option<Vec<AccessCheck>> {
    if !is_configured(kubeconfig.as_deref()) {
        return None;
    }
    let access = ApiAccess::new(kubeconfig);
    Some(vec![
        check::<NodePods>(&access).await,
        check::<Services>(&access).await,
        check::<NetworkPolicies>(&access).await,
        check::<Namespaces>(&access).await,
    ])
}

async fn check<K: Kind>(access: &ApiAccess) -> AccessCheck {
    let mut result = Ok(());
    for question in ["limit=1", "watch=true&timeoutSeconds=1&resourceVersion=0"] {
        if result.is_ok() {
            result = access
                .get(&format!("{}?{question}", K::PATH), K::PARTS.accepted(), ANSWER_WITHIN)
                .await
                .map(drop);
        }
    }
    AccessCheck { resource: K::PATH.rsplit('/').next().unwrap_or(K::PATH), result }
}
