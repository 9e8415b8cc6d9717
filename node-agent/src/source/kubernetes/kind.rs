//! What a kind of Kubernetes object is to the watcher: where it is listed, what of it is read, and what the engine is
//! told about it.

use portolan_engine::model::input::Input;
use serde::de::DeserializeOwned;

use super::object::{Cuts, Metadata};
use super::weight::Weigh;

/// A kind of object that is watched.
pub trait Kind: Send + Sync + 'static {
    /// What is read of `spec` and `status`.
    type Spec: DeserializeOwned + Send;
    type Status: DeserializeOwned + Send;
    /// What an object is known by.
    type Key: Ord + Clone + Weigh + Send + Sync;
    /// The engine's form of it.
    type Item: Weigh + Send;

    /// Name of this source in status.
    const SOURCE: &'static str;
    /// Where it is listed, in all namespaces.
    const PATH: &'static str;
    const PARTS: Parts;
    /// Objects that are kept at most.
    const MOST: usize;

    /// Only objects of which this is true are asked for.
    fn field_selector(&self) -> Option<String> {
        None
    }

    /// Makes the engine's form of an object; `None` for one that has no identity.
    fn read(
        &self,
        metadata: Metadata,
        spec: Option<Self::Spec>,
        status: Option<Self::Status>,
        cuts: &mut Cuts,
    ) -> Option<Told<Self::Key, Self::Item>>;

    /// What is told of an object for which there is no room, so that nothing is judged as if it did not exist; `None` where
    /// that makes no difference.
    fn in_part(_item: Self::Item) -> Option<Self::Item> {
        None
    }

    /// These are all of them.
    fn all(&mut self, items: Vec<Self::Item>) -> Input;
    fn changed(&mut self, item: Self::Item) -> Input;
    fn gone(&mut self, key: Self::Key) -> Input;
    /// They cannot be had.
    fn unavailable(&mut self) -> Option<Input>;
}

/// How much of each object the server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    Whole,
    MetadataOnly,
}

impl Parts {
    /// What a request says that it accepts.
    #[must_use]
    pub const fn accepted(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::MetadataOnly => {
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                 application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
            }
        }
    }
}

/// What an object amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<Key, Item> {
    pub key: Key,
    /// `None`: it exists, but is nothing to the engine.
    pub item: Option<Item>,
}
