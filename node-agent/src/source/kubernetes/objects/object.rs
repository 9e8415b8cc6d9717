//! The frame of every object: metadata, and the fields of spec and status that its kind reads.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fields::Fields;
use super::metadata::Metadata;

/// An object.
#[derive(Debug, Deserialize)]
#[serde(bound = "Spec: DeserializeOwned, Status: DeserializeOwned")]
pub struct Object<Spec, Status> {
    #[serde(default)]
    pub metadata: Fields<Metadata>,
    /// `None` where the object has none, also where it is empty (`null`).
    #[serde(default)]
    pub spec: Option<Fields<Spec>>,
    #[serde(default)]
    pub status: Option<Fields<Status>>,
}
