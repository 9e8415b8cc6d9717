//! Reference to the pod that a written object is about, with names that are valid in a request path.

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::pod::PodRef;

/// Maximum length of a Kubernetes name.
const MAX_NAME: usize = 253;
/// Maximum length of an accepted UID.
const MAX_UID: usize = 64;

/// A pod as the API server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    pub namespace: String,
    pub name: String,
    /// UID at the API server. For a static pod it is that of the mirror pod.
    pub uid: PodUid,
}

impl ObjectRef {
    /// Returns `None` for names and UIDs that cannot exist at the API server.
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
