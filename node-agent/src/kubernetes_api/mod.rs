//! Access to the Kubernetes API server, for the source that watches it and the sinks that write to it. No other folder of
//! the agent names the Kubernetes client.

pub mod access;
pub mod body;
pub mod fault;
pub mod media_type;
pub mod timings;
pub mod turns;
