//! Pure functions over the model: each answers one question from its arguments and keeps nothing. Imports `model`.

pub(crate) mod attribution;
pub(crate) mod audience;
pub mod cgroup;
pub(crate) mod container_match;
pub(crate) mod declaration;
pub(crate) mod evaluate;
pub mod exception_annotation;
pub(crate) mod expectations;
pub(crate) mod explanation;
pub mod isolation;
pub(crate) mod manifests;
pub mod mesh;
pub(crate) mod pod_merge;
pub mod special_purpose;
pub mod well_known_ports;
