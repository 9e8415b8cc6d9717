//! A kind of Kubernetes object as the watcher sees it: its path, the fields that are read, and the engine inputs made of
//! them.

use portolan_engine::model::input::Input;
use serde::de::DeserializeOwned;

use super::objects::fault::Fault;
use super::objects::fields::{Cuts, Fields};
use super::objects::metadata::Metadata;
use super::weight::Weigh;
use crate::kubernetes_api::media_type;
use crate::state::Source;

/// A kind of object that is watched.
pub trait Kind: Send + Sync + 'static {
    /// The fields of `spec` that are read.
    type Spec: DeserializeOwned + Send;
    /// The fields of `status` that are read.
    type Status: DeserializeOwned + Send;
    /// Identity of an object.
    type Key: Ord + Clone + Weigh + Send + Sync;
    /// The engine's form of it.
    type Item: Weigh + Send;

    /// Identity of this source.
    const SOURCE: Source;
    /// Name of the kind in messages.
    const NAME: &'static str;
    /// Path of the list over all namespaces.
    const PATH: &'static str;
    /// How much of each object is requested.
    const PARTS: Parts;
    /// Maximum number of objects.
    const MOST: usize;

    /// Field selector of every request.
    fn field_selector(&self) -> Option<String> {
        None
    }

    /// Returns the identity of an object.
    ///
    /// # Errors
    /// If the object has none.
    fn key(&self, metadata: &Metadata) -> Result<Self::Key, Fault>;

    /// Converts an object into the engine's form; `None` for one that exists but has no meaning for the engine.
    ///
    /// # Errors
    /// The first fault.
    fn read(
        &self,
        metadata: Metadata,
        spec: Option<Fields<Self::Spec>>,
        status: Option<Fields<Self::Status>>,
        cuts: &mut Cuts,
    ) -> Result<Option<Self::Item>, Fault>;

    /// Returns what stands for an object that cannot be understood, so that the engine does not judge as if the object did not
    /// exist; `None` if its last version stays until the next list.
    fn unreadable(_key: &Self::Key) -> Option<Self::Item> {
        None
    }

    /// Returns a reduced form of an object that exceeds the memory budget, so that the engine does not judge as if the object
    /// did not exist; `None` if the object can be left out.
    fn in_part(_item: Self::Item) -> Option<Self::Item> {
        None
    }

    /// Makes the input that replaces all objects of this kind.
    fn all(&mut self, items: Vec<Self::Item>) -> Input;
    /// Makes the input for a new or changed object.
    fn changed(&mut self, item: Self::Item) -> Input;
    /// Makes the input for a deleted object.
    fn gone(&mut self, key: Self::Key) -> Input;
    /// Makes the input for a kind that cannot be listed, if the engine needs to know.
    fn unavailable(&mut self) -> Option<Input>;
}

/// How much of each object a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    Whole,
    MetadataOnly,
}

impl Parts {
    /// Returns the Accept header of a list.
    #[must_use]
    pub const fn accepted_list(self) -> &'static str {
        match self {
            Self::Whole => media_type::WHOLE,
            Self::MetadataOnly => media_type::METADATA_LIST,
        }
    }

    /// Returns the Accept header of a watch, with or without the initial list.
    #[must_use]
    pub const fn accepted_watch(self) -> &'static str {
        match self {
            Self::Whole => media_type::WHOLE,
            Self::MetadataOnly => media_type::METADATA_WATCH,
        }
    }
}
