//! Where facts come from: the kernel's programs, sock_diag, netns discovery, pod metadata, the clock. IO in, no decisions.

pub mod annotation_lint;
pub mod clock;
pub mod confinement;
pub mod conntrack;
pub mod directory_watch;
pub mod kernel;
pub mod kubernetes;
pub mod namespaces;
mod netlink;
pub mod netns;
pub mod node_access;
pub mod pods;
pub mod policies;
pub mod process;
pub mod scan;
pub mod services;
pub mod sighup;
