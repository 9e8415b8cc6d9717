//! The reports that an earlier agent wrote for pods of this node: listed, so that one without current findings is updated
//! too; or removed, if reports are off now.

use portolan_engine::model::identity::PodUid;
use serde::Deserialize;
use tokio::time::sleep;

use super::report_object::label;
use super::writer::WriterContext;
use crate::kubernetes_api::body::{MAX_OBJECT, next_chunk};
use crate::kubernetes_api::fault::{ApiFault, Remedy};
use crate::kubernetes_api::media_type::METADATA_LIST;
use crate::retry::backoff::{Backoff, random, random_part};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct List {
    /// `None`: the server writes `null` for an empty list.
    items: Option<Vec<Item>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    owner_references: Vec<Owner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: String,
    uid: String,
}

/// Returns the UIDs of the pods that have a report. Retries until the server answers. Empty if listing is not allowed.
pub async fn list(context: &WriterContext) -> Vec<PodUid> {
    match list_until_answered(context).await {
        Ok(items) => {
            let owners = items.into_iter().flat_map(|item| item.metadata.owner_references);
            owners.filter(|owner| owner.kind == "Pod").map(|owner| PodUid(owner.uid)).collect()
        }
        Err(fault) => {
            tracing::warn!(
                "reports of an earlier run are not looked at (needed: list on reports.openreports.io): {fault}"
            );
            Vec::new()
        }
    }
}

/// Deletes the reports that an earlier agent wrote for pods of this node, now that reports are off. Without the permission to
/// list reports nothing is known of any, and nothing is said.
pub async fn remove(context: &WriterContext) {
    let items = match list_until_answered(context).await {
        Ok(items) => items,
        Err(fault) => return tracing::debug!("reports of an earlier run are not looked for: {fault}"),
    };
    let mut removed = 0_usize;
    for Item { metadata: Metadata { namespace, name, .. } } in items {
        let uri = format!("/apis/openreports.io/v1alpha1/namespaces/{namespace}/reports/{name}");
        match delete_until_answered(context, &uri).await {
            Ok(()) => removed += 1,
            Err(fault) => {
                tracing::warn!(
                    "reports of an earlier run stay (needed: delete on reports.openreports.io; or by hand: kubectl delete \
                     reports.openreports.io -A -l app.kubernetes.io/managed-by=portolan): {fault}"
                );
                break;
            }
        }
        sleep(context.timings.report_every).await;
    }
    if removed > 0 {
        tracing::info!(removed, "--reports is off: the reports of an earlier run are removed");
    }
}

/// Lists with back-off until the server answers, with success or with a refusal.
async fn list_until_answered(context: &WriterContext) -> Result<Vec<Item>, ApiFault> {
    let mut backoff = context.api_timings.backoff();
    sleep(random_part(context.timings.start_within, random())).await;
    loop {
        match try_list(context).await {
            Err(fault) if fault.remedy() == Remedy::TakeTurns => pause(context, &fault, &mut backoff).await,
            answered => return answered,
        }
    }
}

/// Deletes with back-off until the server answers, with success or with a refusal.
async fn delete_until_answered(context: &WriterContext, uri: &str) -> Result<(), ApiFault> {
    let mut backoff = context.api_timings.backoff();
    loop {
        match context.access.delete(uri, context.api_timings.answer_within).await {
            Err(fault) if fault.remedy() == Remedy::TakeTurns => pause(context, &fault, &mut backoff).await,
            answered => return answered,
        }
    }
}

async fn pause(context: &WriterContext, fault: &ApiFault, backoff: &mut Backoff) {
    context.access.renew();
    sleep(backoff.next(random()) + fault.asked_delay().unwrap_or_default()).await;
}

async fn try_list(context: &WriterContext) -> Result<Vec<Item>, ApiFault> {
    let within = context.api_timings.answer_within;
    let uri = format!(
        "/apis/openreports.io/v1alpha1/reports?resourceVersion=0&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dportolan\
         %2Cportolan.dev%2Fnode%3D{}",
        label(&context.agent.node)
    );
    let mut body = context.access.get(&uri, METADATA_LIST, within).await?;
    let mut text = Vec::new();
    while let Some(chunk) = next_chunk(&mut body, within).await? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_OBJECT {
            break;
        }
    }
    let list: List = serde_json::from_slice(&text).map_err(|error| ApiFault::nonsense("list", &error))?;
    Ok(list.items.unwrap_or_default())
}
