//! The one reader of Kubernetes objects: the types of the fields that are read, the API server's defaults, and the conversion
//! into the engine's form. Manifests, watches and kubelet's annotations all go through it; only the way of the bytes differs.
//! An object that does not have the expected form gives one [`fault::Fault`], never half an object.

pub mod container;
pub mod fault;
pub mod faulty;
pub mod fields;
pub mod image_digest;
pub mod labels;
pub mod metadata;
pub mod namespace;
pub mod network_policy;
pub mod object;
pub mod object_kind;
pub mod pod;
pub mod probe;
pub mod service;
pub mod workload;
