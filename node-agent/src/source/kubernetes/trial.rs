//! Tries what the agent would ask of the API server, once, for `portolan doctor`.

use std::path::PathBuf;
use std::time::Duration;

use super::kind::Kind;
use crate::kubernetes_api::access::{ApiAccess, is_configured};
use crate::kubernetes_api::fault::ApiFault;
use crate::source::namespaces::Namespaces;
use crate::source::pods::api::NodePods;
use crate::source::policies::NetworkPolicies;
use crate::source::services::Services;

const WITHIN: Duration = Duration::from_secs(5);

/// How one kind of object fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// As status names the source.
    pub source: &'static str,
    pub result: Result<(), ApiFault>,
}

/// Lists one object of each kind and opens a watch of it. `None`: nothing says where an API server would be.
pub async fn of_all(kubeconfig: Option<PathBuf>) -> Option<Vec<Trial>> {
    if !is_configured(kubeconfig.as_deref()) {
        return None;
    }
    let access = ApiAccess::new(kubeconfig);
    Some(vec![
        of::<NodePods>(&access).await,
        of::<Services>(&access).await,
        of::<NetworkPolicies>(&access).await,
        of::<Namespaces>(&access).await,
    ])
}

async fn of<K: Kind>(access: &ApiAccess) -> Trial {
    let mut result = Ok(());
    for question in ["limit=1", "watch=true&timeoutSeconds=1&resourceVersion=0"] {
        if result.is_ok() {
            result =
                access.get(&format!("{}?{question}", K::PATH), K::PARTS.accepted(), WITHIN).await.map(drop);
        }
    }
    Trial { source: K::SOURCE, result }
}
