//! The way to Kubernetes' API server, for the source that watches it and the sinks that write to it. The only folder that names
//! the Kubernetes client.

pub mod access;
pub mod backoff;
pub mod body;
pub mod fault;
