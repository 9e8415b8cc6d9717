//! The reports that an agent before us left of this node's pods, so that one whose findings ended meanwhile is mended too.

use portolan_engine::model::identity::PodUid;
use serde::Deserialize;
use tokio::time::sleep;

use super::report_object::label;
use super::writer::Office;
use crate::kubernetes_api::backoff::{Backoff, part_of, random};
use crate::kubernetes_api::body::{MAX_OBJECT, piece};
use crate::kubernetes_api::fault::{ApiFault, Remedy};

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

/// UIDs of the pods that have a report. Tries until the server answers; none where it may not be asked.
pub async fn list(office: &Office) -> Vec<PodUid> {
    let mut backoff = Backoff::new(&office.pace);
    sleep(part_of(office.times.start_within, random())).await;
    loop {
        match try_list(office).await {
            Ok(pods) => return pods,
            Err(fault) if fault.remedy() == Remedy::TakeTurns => {
                office.access.renew();
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

async fn try_list(office: &Office) -> Result<Vec<PodUid>, ApiFault> {
    let within = office.pace.answer_within;
    let uri = format!(
        "/apis/openreports.io/v1alpha1/reports?resourceVersion=0&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dportolan\
         %2Cportolan.dev%2Fnode%3D{}",
        label(&office.node)
    );
    let mut body = office.access.get(&uri, METADATA, within).await?;
    let mut text = Vec::new();
    while let Some(piece) = piece(&mut body, within).await? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_OBJECT {
            break;
        }
    }
    let list: List = serde_json::from_slice(&text).map_err(|error| ApiFault::nonsense("list", &error))?;
    let owners = list.items.into_iter().flat_map(|item| item.metadata.owner_references);
    Ok(owners.filter(|owner| owner.kind == "Pod").map(|owner| PodUid(owner.uid)).collect())
}
