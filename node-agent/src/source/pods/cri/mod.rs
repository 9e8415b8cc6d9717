//! Pods from the container runtime, over CRI v1: what runs here, in which netns and cgroup, and the declared ports that
//! kubelet leaves on each container. It stands next to the kernel's facts without the API server.

pub mod annotations;
pub mod client;
pub mod details;
mod fingerprint;
mod follow;
pub mod messages;
mod owner;
mod pod;
mod probe;
mod roster;
pub mod socket;

pub use self::follow::{follow, read};
pub use self::probe::{Found, probe};

/// Name of this source.
pub const SOURCE: &str = "cri";

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
