//! Tracks the runtime's pods: compares each poll of the two lists with the pods that were sent to the engine. A poll with
//! unchanged lists costs two calls and a hash.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use portolan_engine::model::identity::PodUid;
use portolan_engine::model::pod::Pod;
use prost::Message;

use super::client::{Call, CriError, Runtime};
use super::details::{Details, KnownDetails};
use super::fingerprint::Fingerprints;
use super::known_images::KnownImages;
use super::messages::{
    CONTAINER_RUNNING, Container, Image, ListResponse, PodSandbox, PodSandboxStatusRequest,
    PodSandboxStatusResponse, SANDBOX_READY,
};
use super::pod::{assemble, container_name, uid};
use crate::source::clock;

/// Time limit of the requests for the status of sandboxes in one pass, so that a slow runtime does not delay known pods.
const STATUS_REQUESTS: Duration = Duration::from_secs(1);

/// Result of a pass.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The lists differ from those of the previous pass.
    pub differs: bool,
    /// New and changed pods; all pods if `first`.
    pub pods: Vec<Pod>,
    pub gone: Vec<PodUid>,
    /// Nothing was sent before.
    pub first: bool,
    /// The status of some sandboxes, or the list of images, is still missing and should be requested at once.
    pub more: bool,
    /// The status of some sandboxes is still missing.
    pub waits: bool,
    /// Number of sandboxes without a status; their pods are sent without a netns.
    pub without_status: u64,
    /// Number of items, entries and strings that are invalid.
    pub unreadable: u64,
    /// Description of the first of them, for the log.
    pub complaint: Option<String>,
}

/// A decoded item of a list.
struct Listed<T> {
    item: T,
    fingerprint: u64,
}

/// The pods that were sent to the engine, and everything else that is kept between passes.
#[derive(Debug, Default)]
pub(super) struct PodTracker {
    fingerprints: Fingerprints,
    /// Fingerprint of both lists at the last pass that left nothing to request.
    last: Option<u64>,
    details: KnownDetails,
    /// Names and digests of images in use.
    images: KnownImages,
    /// True if the list of images is to be requested by the next pass.
    images_are_next: bool,
    /// Fingerprints of the pods that were sent; `None`: nothing was sent.
    sent: Option<HashMap<PodUid, u64>>,
    /// Ids of items whose invalid parts were counted.
    complained: HashSet<String>,
    /// Fingerprints of the undecodable items.
    bad: HashSet<u64>,
}

impl PodTracker {
    /// Makes the next pass send all pods again.
    pub fn resend_all(&mut self) {
        self.last = None;
        self.sent = None;
        self.images.forget_failures();
    }

    /// Polls the runtime once.
    ///
    /// # Errors
    /// When a list cannot be read.
    pub async fn pass(&mut self, runtime: &Runtime) -> Result<Pass, CriError> {
        let sandboxes: ListResponse = runtime.ask_for(Call::ListPodSandbox, &()).await?;
        let containers: ListResponse = runtime.ask_for(Call::ListContainers, &()).await?;
        let of = |list: &ListResponse| self.fingerprints.of_list(list.items.iter().map(AsRef::as_ref));
        let both = self.fingerprints.of(&(of(&sandboxes), of(&containers)));
        let mut pass = Pass { differs: self.last != Some(both), ..Pass::default() };
        if !pass.differs && !self.details.has_failures() && !self.images.is_retry_due(clock::now()) {
            return Ok(pass);
        }
        let mut bad = HashSet::new();
        let sandboxes: Vec<Listed<PodSandbox>> = self.read(&sandboxes.items, &mut bad, &mut pass);
        let containers: Vec<Listed<Container>> = self.read(&containers.items, &mut bad, &mut pass);
        self.bad = bad;
        let mut by_sandbox: HashMap<&str, Vec<&Listed<Container>>> = HashMap::new();
        for container in &containers {
            by_sandbox.entry(&container.item.pod_sandbox_id).or_default().push(container);
        }
        let current = current(&sandboxes, &by_sandbox);
        self.ask_details(runtime, current.values().map(|sandbox| &sandbox.item), &mut pass).await?;
        self.ask_images(runtime, containers.iter().map(|container| &container.item), &mut pass).await;
        self.compare(&current, &by_sandbox, &mut pass);
        let ids: HashSet<&str> = (sandboxes.iter().map(|listed| listed.item.id.as_str()))
            .chain(containers.iter().map(|listed| listed.item.id.as_str()))
            .collect();
        self.details.retain(|id| ids.contains(id));
        self.complained.retain(|id| ids.contains(id.as_str()));
        self.last = (!pass.more).then_some(both);
        Ok(pass)
    }

    /// Decodes the items of a list; counts an undecodable item when it first appears.
    fn read<T: Message + Default>(
        &self,
        items: &[Bytes],
        bad: &mut HashSet<u64>,
        pass: &mut Pass,
    ) -> Vec<Listed<T>> {
        let mut read = Vec::with_capacity(items.len());
        for bytes in items {
            let fingerprint = self.fingerprints.of_message(bytes);
            match T::decode(bytes.clone()) {
                Ok(item) => read.push(Listed { item, fingerprint }),
                Err(error) => {
                    if bad.insert(fingerprint) && !self.bad.contains(&fingerprint) {
                        pass.complain(format!("an item of a list cannot be read: {error}"));
                    }
                }
            }
        }
        read
    }

    async fn ask_details(
        &mut self,
        runtime: &Runtime,
        sandboxes: impl Iterator<Item = &PodSandbox>,
        pass: &mut Pass,
    ) -> Result<(), CriError> {
        let until = clock::now().after(STATUS_REQUESTS);
        let mut enough = false;
        for sandbox in sandboxes {
            enough |= clock::now() > until;
            if enough {
                pass.more |= !self.details.is_settled(&sandbox.id);
                continue;
            }
            if !self.details.is_due(&sandbox.id) {
                continue;
            }
            let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.id.clone(), verbose: true };
            match runtime.ask_for::<PodSandboxStatusResponse>(Call::PodSandboxStatus, &request).await {
                Ok(answer) => {
                    let (details, invalid) = Details::of(&answer);
                    if invalid {
                        pass.complain(format!("the status of sandbox {:.12} cannot be read", sandbox.id));
                    }
                    self.details.learn(&sandbox.id, details);
                }
                Err(error @ CriError::Refused { code: tonic::Code::Unavailable, .. }) => return Err(error),
                Err(error) => {
                    if self.details.fail(&sandbox.id) {
                        pass.without_status += 1;
                        tracing::warn!(sandbox = sandbox.id, "{error}; its pod is told without its netns");
                    }
                    // A pass ends after the first slow response.
                    enough |= matches!(error, CriError::Slow { .. });
                }
            }
        }
        Ok(())
    }

    /// Requests the list of images if a container has an image without a name or a digest. The first pass that wants it leaves it
    /// to the next one, so that the pods are sent before a slow runtime is asked.
    async fn ask_images(
        &mut self,
        runtime: &Runtime,
        containers: impl Iterator<Item = &Container>,
        pass: &mut Pass,
    ) {
        let (wanted, is_news) = self.images.prepare(containers);
        let is_next = std::mem::take(&mut self.images_are_next);
        let now = clock::now();
        if !is_news || !self.images.is_askable(now) {
            return;
        }
        if !is_next && !self.images.is_retry_due(now) {
            self.images_are_next = true;
            pass.more = true;
            return;
        }
        match runtime.ask_for::<ListResponse>(Call::ListImages, &()).await {
            Ok(list) => {
                for image in list.items.into_iter().filter_map(|bytes| Image::decode(bytes).ok()) {
                    self.images.learn(&image, &wanted);
                }
                self.images.settle(wanted);
            }
            Err(error) => {
                tracing::debug!("images have neither names nor digests for now: {error}");
                self.images.fail(clock::now());
            }
        }
    }

    /// Compares the current pods with those that were sent.
    fn compare(
        &mut self,
        current: &BTreeMap<PodUid, &Listed<PodSandbox>>,
        by_sandbox: &HashMap<&str, Vec<&Listed<Container>>>,
        pass: &mut Pass,
    ) {
        pass.first = self.sent.is_none();
        let mut sent = self.sent.take().unwrap_or_default();
        for (uid, sandbox) in current {
            if !self.details.is_settled(&sandbox.item.id) {
                pass.waits = true;
                continue;
            }
            let none = Vec::new();
            let containers = by_sandbox.get(sandbox.item.id.as_str()).unwrap_or(&none);
            let state = self.state(sandbox, containers);
            if sent.insert(uid.clone(), state) == Some(state) {
                continue;
            }
            let containers = newest(containers);
            let details = self.details.get(&sandbox.item.id);
            let mut invalid = BTreeMap::new();
            pass.pods.push(assemble(&sandbox.item, details, &containers, &self.images, &mut invalid));
            for (id, count) in invalid {
                if self.complained.insert(id.clone()) {
                    let what = "has ports or handlers that cannot be read, or too many";
                    pass.complain(format!("{id:.12} of sandbox {:.12} {what}", sandbox.item.id));
                    pass.unreadable += count.saturating_sub(1);
                }
            }
        }
        pass.gone.extend(sent.keys().filter(|uid| !current.contains_key(*uid)).cloned());
        sent.retain(|uid, _| current.contains_key(uid));
        self.sent = Some(sent);
    }

    /// Returns the fingerprint of everything that a pod is assembled from.
    fn state(&self, sandbox: &Listed<PodSandbox>, containers: &[&Listed<Container>]) -> u64 {
        let sum = containers.iter().fold(0_u64, |sum, listed| sum.wrapping_add(listed.fingerprint));
        let images: BTreeSet<&String> =
            containers.iter().flat_map(|listed| self.images.facts(&listed.item)).collect();
        self.fingerprints.of(&(sandbox.fingerprint, sum, self.details.get(&sandbox.item.id), images))
    }
}

impl Pass {
    fn complain(&mut self, complaint: String) {
        self.unreadable += 1;
        self.complaint.get_or_insert(complaint);
    }
}

/// Returns the current sandbox of each pod. A sandbox that is not ready and has no running container is ignored; of several
/// sandboxes the newest counts.
fn current<'a>(
    sandboxes: &'a [Listed<PodSandbox>],
    by_sandbox: &HashMap<&str, Vec<&Listed<Container>>>,
) -> BTreeMap<PodUid, &'a Listed<PodSandbox>> {
    let mut current: BTreeMap<PodUid, &Listed<PodSandbox>> = BTreeMap::new();
    for sandbox in sandboxes {
        let ready = sandbox.item.state == SANDBOX_READY;
        let runs = || {
            let containers = by_sandbox.get(sandbox.item.id.as_str());
            containers.is_some_and(|all| all.iter().any(|listed| listed.item.state == CONTAINER_RUNNING))
        };
        if sandbox.item.id.is_empty() || !(ready || runs()) {
            continue;
        }
        let rank = |listed: &Listed<PodSandbox>| {
            (listed.item.state == SANDBOX_READY, listed.item.created_at, listed.item.id.clone())
        };
        let known = current.entry(uid(&sandbox.item)).or_insert(sandbox);
        if rank(known) < rank(sandbox) {
            *known = sandbox;
        }
    }
    current
}

/// Returns the newest container of each name; older ones are earlier attempts.
fn newest<'a>(containers: &[&'a Listed<Container>]) -> Vec<&'a Container> {
    let mut by_name: BTreeMap<&str, &Container> = BTreeMap::new();
    for listed in containers {
        let rank = |container: &Container| {
            (container.state == CONTAINER_RUNNING, container.created_at, container.id.clone())
        };
        let known = by_name.entry(container_name(&listed.item)).or_insert(&listed.item);
        if rank(known) < rank(&listed.item) {
            *known = &listed.item;
        }
    }
    by_name.into_values().collect()
}
