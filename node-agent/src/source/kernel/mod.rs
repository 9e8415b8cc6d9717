//! The kernel's programs and maps, seen from user space: load, attach, read, drain. The only place that knows aya.

mod attachments;
mod batch;
mod bpffs;
mod cgroup_root;
mod clsact;
pub mod decode;
mod drain;
mod elf;
mod flows;
mod hooks;
mod kernel_log;
mod netns_programs;
mod object;
mod own_programs;
#[cfg(feature = "bench")]
pub mod packet_cost;
mod peer_memory;
mod port_filter;
mod program_call;
mod refusal;
mod rings;

pub use bpffs::DetachedBpffs;
pub use cgroup_root::{Extent, root_cgroup};
pub use hooks::{KernelHooks, KernelOptions, TrafficLevel};
pub use kernel_log::{KernelLog, KernelLogLevel};
pub use netns_programs::NetnsPrograms;
pub use refusal::{Capabilities, KernelRefusal};
pub use rings::Rings;
