//! Names and digests of images that the runtime's containers refer to by id.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use portolan_engine::model::identity::BootTime;

use super::messages::{Container, Image};
use crate::source::kubernetes::objects::image_digest;

/// Time from the first failed request of the list to the next one. Doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// Longest time between two requests.
const LONGEST_WAIT: Duration = Duration::from_secs(16 * 60);

/// What the runtime's list of images says about the images in use.
#[derive(Debug, Default)]
pub(super) struct KnownImages {
    /// First tag by image id.
    names: HashMap<String, String>,
    /// Digest of the manifest by image id.
    digests: HashMap<String, String>,
    /// Image ids of which the list says neither.
    unlisted: HashSet<String>,
    /// The failed requests since the last one that succeeded; `None` if it did not fail.
    failed: Option<Failed>,
}

/// When a list that could not be read is requested again.
#[derive(Clone, Copy, Debug)]
struct Failed {
    due: BootTime,
    wait: Duration,
}

impl KnownImages {
    /// Returns the image as in the manifest if that is known, else the first tag of the image, else the image id.
    pub fn reference<'a>(&'a self, container: &'a Container) -> &'a str {
        let Some(spec) = &container.image else { return &container.image_ref };
        if !spec.user_specified_image.is_empty() {
            return &spec.user_specified_image;
        }
        if !spec.image.is_empty() && !is_id(&spec.image) {
            return &spec.image;
        }
        let id = if spec.image.is_empty() { &container.image_ref } else { &spec.image };
        image_ids(container).find_map(|id| self.names.get(id)).unwrap_or(id)
    }

    /// Returns the digest of the image's manifest: that of the reference by which the runtime knows the image, else the only one
    /// in its list of images.
    pub fn digest<'a>(&'a self, container: &'a Container) -> Option<&'a str> {
        let given = image_digest::of_reference(&container.image_ref);
        given.or_else(|| undigested(container).find_map(|id| self.digests.get(id)).map(String::as_str))
    }

    /// Returns everything of the list of images that a container is assembled from.
    pub fn facts(&self, container: &Container) -> Vec<&String> {
        let names = unnamed(container).into_iter().filter_map(|id| self.names.get(id));
        names.chain(undigested(container).filter_map(|id| self.digests.get(id))).collect()
    }

    /// Forgets the images that no container uses any more. Returns the ids to look up, and whether one of them is new.
    pub fn prepare<'a>(
        &mut self,
        containers: impl Iterator<Item = &'a Container>,
    ) -> (HashSet<&'a str>, bool) {
        let mut wanted: HashSet<&str> = HashSet::new();
        let mut is_news = false;
        for container in containers {
            for ids in [unnamed(container), undigested(container).collect()] {
                is_news |= !ids.is_empty() && !ids.iter().any(|id| self.is_known(id));
                wanted.extend(ids);
            }
        }
        self.names.retain(|id, _| wanted.contains(id.as_str()));
        self.digests.retain(|id, _| wanted.contains(id.as_str()));
        self.unlisted.retain(|id| wanted.contains(id.as_str()));
        (wanted, is_news)
    }

    /// Learns an image of the list, if it is wanted.
    pub fn learn(&mut self, image: &Image, wanted: &HashSet<&str>) {
        let name = image.repo_tags.first().or_else(|| image.repo_digests.first());
        let digest = image_digest::sole(&image.repo_digests);
        let ids = [&image.id].into_iter().chain(&image.repo_digests);
        for id in ids.filter(|id| wanted.contains(id.as_str())) {
            if let Some(name) = name {
                self.names.insert(id.clone(), name.clone());
            }
            if let Some(digest) = digest {
                self.digests.insert(id.clone(), digest.to_owned());
            }
        }
    }

    /// Notes that the list was read, so that the ids without an entry are not asked for again.
    pub fn settle(&mut self, wanted: HashSet<&str>) {
        let unlisted = wanted.into_iter().filter(|id| !self.is_known(id)).map(str::to_owned);
        let unlisted: Vec<String> = unlisted.collect();
        self.unlisted.extend(unlisted);
        self.failed = None;
    }

    /// Notes that the list could not be read. The ids stay wanted, and the list is requested again later.
    pub fn fail(&mut self, now: BootTime) {
        let wait = self.failed.map_or(FIRST_WAIT, |failed| (failed.wait * 2).min(LONGEST_WAIT));
        self.failed = Some(Failed { due: now.after(wait), wait });
    }

    /// Forgets that the list could not be read: another session with the runtime may be able to.
    pub fn forget_failures(&mut self) {
        self.failed = None;
    }

    /// True if the list may be requested now.
    pub fn is_askable(&self, now: BootTime) -> bool {
        self.failed.is_none_or(|failed| now >= failed.due)
    }

    /// True if the last request failed, and it is time for the next one.
    pub fn is_retry_due(&self, now: BootTime) -> bool {
        self.failed.is_some() && self.is_askable(now)
    }

    fn is_known(&self, id: &str) -> bool {
        self.names.contains_key(id) || self.digests.contains_key(id) || self.unlisted.contains(id)
    }
}

/// Returns the ids under which the list of images may have a container's image; empty if the name is already known.
fn unnamed(container: &Container) -> Vec<&str> {
    let named = container.image.as_ref().is_some_and(|spec| {
        !spec.user_specified_image.is_empty() || !spec.image.is_empty() && !is_id(&spec.image)
    });
    if named { Vec::new() } else { image_ids(container).collect() }
}

/// Returns the ids under which the list of images may have the digest; none if the container's reference has it.
fn undigested(container: &Container) -> impl Iterator<Item = &str> {
    let is_given = image_digest::of_reference(&container.image_ref).is_some();
    let ids = [container.image_id.as_str(), container.image_ref.as_str()].into_iter();
    ids.filter(move |id| !is_given && is_id(id))
}

fn image_ids(container: &Container) -> impl Iterator<Item = &str> {
    let of_spec = container.image.as_ref().map_or("", |spec| &spec.image);
    [of_spec, &container.image_id, &container.image_ref].into_iter().filter(|id| !id.is_empty())
}

/// Returns true for an image id: `sha256:…`, or the bare digest.
fn is_id(image: &str) -> bool {
    let bare = image.strip_prefix("sha256:").unwrap_or(image);
    bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_secs(secs: u64) -> BootTime {
        BootTime(0).after(Duration::from_secs(secs))
    }

    #[test]
    fn a_list_that_cannot_be_read_is_asked_for_again_ever_less_often() {
        let container =
            Container { image_ref: format!("sha256:{}", "a1".repeat(32)), ..Container::default() };
        let mut images = KnownImages::default();
        assert!(images.is_askable(after_secs(0)) && !images.is_retry_due(after_secs(0)));
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..7 {
            images.fail(after_secs(now));
            let (_, is_news) = images.prepare([&container].into_iter());
            assert!(is_news, "the image stays wanted");
            let due = (now..).find(|secs| images.is_retry_due(after_secs(*secs))).expect("a time");
            waits.push((due - now) / 60);
            now = due;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
        let (wanted, _) = images.prepare([&container].into_iter());
        images.settle(wanted);
        assert!(!images.prepare([&container].into_iter()).1, "the list has no entry");
        assert!(images.is_askable(after_secs(now)) && !images.is_retry_due(after_secs(now)));
    }
}
