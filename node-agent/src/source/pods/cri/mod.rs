//! Source of pods: the container runtime, over CRI v1. Provides the running pods with netns, cgroup, and the declared ports
//! that kubelet writes to each container, and so works without the API server.

pub mod annotations;
pub mod client;
pub mod details;
mod fingerprint;
mod follow;
mod known_images;
pub mod messages;
mod owner;
mod pod;
mod pod_tracker;
mod probe;
pub mod socket;

use portolan_engine::model::pod::PodSource;

pub use self::follow::{follow, read};
pub use self::probe::{Found, probe};

/// This source, in the engine's inputs.
pub const SOURCE: PodSource = PodSource::Runtime;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
