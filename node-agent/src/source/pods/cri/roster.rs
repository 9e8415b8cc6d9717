//! What was last told of the runtime's pods, and what one look at its two lists changes in it. A look that shows the same
//! lists as the one before costs two calls and a hash.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use portolan_engine::model::identity::PodUid;
use portolan_engine::model::pod::Pod;
use prost::Message;

use super::client::{Call, CriError, Runtime};
use super::details::{Details, KnownDetails};
use super::fingerprint::Fingerprints;
use super::messages::{
    CONTAINER_RUNNING, Container, Image, ListResponse, PodSandbox, PodSandboxStatusRequest,
    PodSandboxStatusResponse, SANDBOX_READY,
};
use super::pod::{assemble, container_name, uid, unnamed_image};
use crate::source::clock;

/// How long one pass asks for the status of sandboxes, so that a slow runtime does not keep back what is known.
const ASKING: Duration = Duration::from_secs(1);

/// What a pass found.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The lists differ from those of the pass before.
    pub differs: bool,
    /// Pods that are new or differ: all of them, where `first`.
    pub pods: Vec<Pod>,
    pub gone: Vec<PodUid>,
    /// Nothing was told before.
    pub first: bool,
    /// Some sandboxes are still to be asked for, and there is no reason to wait.
    pub more: bool,
    /// Some sandboxes are still to be asked for, sooner or later.
    pub waits: bool,
    /// Sandboxes whose status could not be had; their pods are told without their netns.
    pub without_status: u64,
    /// Items, entries and texts that could not be read.
    pub unreadable: u64,
    /// The first of these, for the log.
    pub complaint: Option<String>,
}

/// One item of a list, read.
struct Listed<T> {
    item: T,
    fingerprint: u64,
}

/// State between passes.
#[derive(Debug, Default)]
pub(super) struct Roster {
    fingerprints: Fingerprints,
    /// Of both lists, once nothing was left to ask.
    last: Option<u64>,
    details: KnownDetails,
    /// First tag by image id, for the images that are in use.
    images: HashMap<String, String>,
    /// Image ids that the list of images does not have.
    nameless: HashSet<String>,
    told: Option<HashMap<PodUid, u64>>,
    /// Ids of items that were complained about.
    complained: HashSet<String>,
    /// Fingerprints of the items that could not be read at all.
    bad: HashSet<u64>,
}

impl Roster {
    /// Everything is to be told again.
    pub fn forget_told(&mut self) {
        self.last = None;
        self.told = None;
    }

    /// One look at the runtime.
    ///
    /// # Errors
    /// When a list cannot be had.
    pub async fn pass(&mut self, runtime: &Runtime) -> Result<Pass, CriError> {
        let sandboxes: ListResponse = runtime.ask_for(Call::ListPodSandbox, &()).await?;
        let containers: ListResponse = runtime.ask_for(Call::ListContainers, &()).await?;
        let of = |list: &ListResponse| self.fingerprints.of_list(list.items.iter().map(AsRef::as_ref));
        let both = self.fingerprints.of(&(of(&sandboxes), of(&containers)));
        let mut pass = Pass { differs: self.last != Some(both), ..Pass::default() };
        if !pass.differs && !self.details.has_failures() {
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
        self.ask_images(runtime, containers.iter().map(|container| &container.item)).await?;
        self.compare(&current, &by_sandbox, &mut pass);
        let ids: HashSet<&str> = (sandboxes.iter().map(|listed| listed.item.id.as_str()))
            .chain(containers.iter().map(|listed| listed.item.id.as_str()))
            .collect();
        self.details.retain(|id| ids.contains(id));
        self.complained.retain(|id| ids.contains(id.as_str()));
        self.last = (!pass.more).then_some(both);
        Ok(pass)
    }

    /// Reads the items of a list; one that cannot be read is counted when it turns up.
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
        let until = clock::now().after(ASKING);
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
                    // One slow answer is enough for a pass.
                    enough |= matches!(error, CriError::Slow { .. });
                }
            }
        }
        Ok(())
    }

    /// Names the images that the containers only give by id.
    async fn ask_images(
        &mut self,
        runtime: &Runtime,
        containers: impl Iterator<Item = &Container>,
    ) -> Result<(), CriError> {
        let mut wanted: HashSet<&str> = HashSet::new();
        let mut is_news = false;
        for container in containers {
            let ids = unnamed_image(container);
            let known = |id: &&&str| self.images.contains_key(**id) || self.nameless.contains(**id);
            is_news |= !ids.is_empty() && !ids.iter().any(|id| known(&id));
            wanted.extend(ids);
        }
        self.images.retain(|id, _| wanted.contains(id.as_str()));
        self.nameless.retain(|id| wanted.contains(id.as_str()));
        if !is_news {
            return Ok(());
        }
        match runtime.ask_for::<ListResponse>(Call::ListImages, &()).await {
            Ok(list) => {
                for image in list.items.into_iter().filter_map(|bytes| Image::decode(bytes).ok()) {
                    self.name_image(&image, &wanted);
                }
            }
            Err(error @ CriError::Refused { code: tonic::Code::Unavailable, .. }) => return Err(error),
            Err(error) => tracing::debug!("images stay without names: {error}"),
        }
        let nameless = wanted.into_iter().filter(|id| !self.images.contains_key(*id)).map(str::to_owned);
        self.nameless.extend(nameless);
        Ok(())
    }

    fn name_image(&mut self, image: &Image, wanted: &HashSet<&str>) {
        let Some(name) = image.repo_tags.first().or_else(|| image.repo_digests.first()) else { return };
        for id in [&image.id].into_iter().chain(&image.repo_digests) {
            if wanted.contains(id.as_str()) {
                self.images.insert(id.clone(), name.clone());
            }
        }
    }

    /// Compares what is there with what was told.
    fn compare(
        &mut self,
        current: &BTreeMap<PodUid, &Listed<PodSandbox>>,
        by_sandbox: &HashMap<&str, Vec<&Listed<Container>>>,
        pass: &mut Pass,
    ) {
        pass.first = self.told.is_none();
        let mut told = self.told.take().unwrap_or_default();
        for (uid, sandbox) in current {
            if !self.details.is_settled(&sandbox.item.id) {
                pass.waits = true;
                continue;
            }
            let none = Vec::new();
            let containers = by_sandbox.get(sandbox.item.id.as_str()).unwrap_or(&none);
            let state = self.state(sandbox, containers);
            if told.insert(uid.clone(), state) == Some(state) {
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
        pass.gone.extend(told.keys().filter(|uid| !current.contains_key(*uid)).cloned());
        told.retain(|uid, _| current.contains_key(uid));
        self.told = Some(told);
    }

    /// A fingerprint of all that a pod is made of.
    fn state(&self, sandbox: &Listed<PodSandbox>, containers: &[&Listed<Container>]) -> u64 {
        let sum = containers.iter().fold(0_u64, |sum, listed| sum.wrapping_add(listed.fingerprint));
        let images: BTreeSet<&String> = containers
            .iter()
            .flat_map(|listed| unnamed_image(&listed.item))
            .filter_map(|id| self.images.get(id))
            .collect();
        self.fingerprints.of(&(sandbox.fingerprint, sum, self.details.get(&sandbox.item.id), images))
    }
}

impl Pass {
    fn complain(&mut self, complaint: String) {
        self.unreadable += 1;
        self.complaint.get_or_insert(complaint);
    }
}

/// The sandbox that is each pod now. One that has ended and in which nothing runs is none; of several the newest counts.
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

/// The newest container of each name, by name: older ones are earlier attempts.
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
