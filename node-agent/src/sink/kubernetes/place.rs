//! The pod that an object is about, as the API server knows it, and names that may stand in a path.

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::pod::PodRef;

/// Longest name that Kubernetes takes.
const MAX_NAME: usize = 253;
/// Longest UID that is believed.
const MAX_UID: usize = 64;

/// A pod of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub namespace: String,
    pub name: String,
    /// The API server's own, which is a static pod's mirror's.
    pub uid: PodUid,
}

impl Place {
    /// `None` for names that the API server cannot have.
    #[must_use]
    pub fn of(pod: &PodRef, uid: PodUid) -> Option<Self> {
        let is_name = |text: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            (1..=MAX_NAME).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('.')
        };
        let is_uid = (1..=MAX_UID).contains(&uid.0.len())
            && uid.0.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        (is_name(&pod.namespace) && is_name(&pod.name) && is_uid).then(|| Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid,
        })
    }
}
