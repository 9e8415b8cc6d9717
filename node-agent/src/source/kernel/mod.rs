//! Loads and attaches the kernel programs, and reads and drains their maps. The only folder that uses aya.

mod attachments;
mod background_close;
mod batch;
mod bpffs;
mod capabilities;
mod cgroup_root;
mod clsact;
pub mod decode;
mod drain;
mod flows;
mod hooks;
mod kernel_log;
mod netns_programs;
mod object;
mod options;
#[cfg(feature = "bench")]
pub mod packet_cost;
mod peer_memory;
mod port_filter;
mod program_syscalls;
mod program_templates;
mod refusal;
mod rings;
#[cfg(feature = "bench")]
pub mod sending_cost;

pub use bpffs::DetachedBpffs;
pub use capabilities::Capabilities;
pub use cgroup_root::{Extent, root_cgroup};
pub use hooks::KernelHooks;
pub use kernel_log::{KernelLog, KernelLogLevel};
pub use netns_programs::NetnsPrograms;
pub use object::LookupScope;
pub use options::{KernelOptions, TrafficLevel};
pub use refusal::KernelRefusal;
pub use rings::Rings;
