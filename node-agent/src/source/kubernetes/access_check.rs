//! Checks once, for `portolan doctor`, whether the API server lets the agent list and watch what it needs.

use std::path::PathBuf;
use std::time::Duration;

use super::error_event;
use super::kind::Kind;
use super::protocol::WatchLine;
use crate::kubernetes_api::access::{ApiAccess, is_configured};
use crate::kubernetes_api::body::BodyLines;
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

/// Lists one object of each kind, opens a watch and reads its first line. `None`: neither a pod's credentials nor a kubeconfig
/// name an API server.
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
    let result = match list::<K>(access).await {
        Ok(()) => watch::<K>(access).await,
        refused => refused,
    };
    AccessCheck { resource: K::PATH.rsplit('/').next().unwrap_or(K::PATH), result }
}

async fn list<K: Kind>(access: &ApiAccess) -> Result<(), ApiFault> {
    access.get(&format!("{}?limit=1", K::PATH), K::PARTS.accepted_list(), ANSWER_WITHIN).await.map(drop)
}

/// Opens a watch that begins with the objects that exist, and reads its first line: the server answers 200 before it looks at
/// an object. A cluster without objects of the kind ends the watch in time.
async fn watch<K: Kind>(access: &ApiAccess) -> Result<(), ApiFault> {
    let request = format!("{}?watch=true&timeoutSeconds=1&resourceVersion=0", K::PATH);
    let body = access.get(&request, K::PARTS.accepted_watch(), ANSWER_WITHIN).await?;
    let mut lines = BodyLines::new(body);
    let Some(line) = lines.next(ANSWER_WITHIN).await? else { return Ok(()) };
    let event: WatchLine<'_> =
        serde_json::from_slice(line).map_err(|error| ApiFault::nonsense("watch event", &error))?;
    if event.event == "ERROR" { Err(error_event::fault(event.object.get())) } else { Ok(()) }
}
