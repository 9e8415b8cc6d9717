//! Lists the reports that an earlier agent wrote for pods of this node, so that a report without current findings is
//! updated too.

use portolan_engine::model::identity::PodUid;
use serde::Deserialize;
use tokio::time::sleep;

use super::report_object::label;
use super::writer::WriterContext;
use crate::kubernetes_api::body::{MAX_OBJECT, next_chunk};
use crate::kubernetes_api::fault::{ApiFault, Remedy};
use crate::retry::backoff::{random, random_part};

/// Media type of a list that contains only the metadata of objects.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct List {
    items: Vec<Item>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
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
    let mut backoff = context.api_timings.backoff();
    sleep(random_part(context.timings.start_within, random())).await;
    loop {
        match try_list(context).await {
            Ok(pods) => return pods,
            Err(fault) if fault.remedy() == Remedy::TakeTurns => {
                context.access.renew();
                sleep(backoff.next(random()) + fault.asked_delay().unwrap_or_default()).await;
            }
            Err(fault) => {
                tracing::warn!(
                    "reports of an earlier run are not looked at (needed: list on reports.openreports.io): {fault}"
                );
                return Vec::new();
            }
        }
    }
}

async fn try_list(context: &WriterContext) -> Result<Vec<PodUid>, ApiFault> {
    let within = context.api_timings.answer_within;
    let uri = format!(
        "/apis/openreports.io/v1alpha1/reports?resourceVersion=0&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dportolan\
         %2Cportolan.dev%2Fnode%3D{}",
        label(&context.node)
    );
    let mut body = context.access.get(&uri, METADATA, within).await?;
    let mut text = Vec::new();
    while let Some(chunk) = next_chunk(&mut body, within).await? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_OBJECT {
            break;
        }
    }
    let list: List = serde_json::from_slice(&text).map_err(|error| ApiFault::nonsense("list", &error))?;
    let owners = list.items.into_iter().flat_map(|item| item.metadata.owner_references);
    Ok(owners.filter(|owner| owner.kind == "Pod").map(|owner| PodUid(owner.uid)).collect())
}
