//! The test harness: networks of namespaces, actors in them, the agent, and the kernel's own list of sockets as the
//! oracle.

pub mod actor;
pub mod agent;
pub mod cgroup;
pub mod client;
pub mod daemon;
pub mod http;
pub mod kernel_side;
pub mod leaks;
pub mod manifest;
pub mod network;
pub mod oracle;
pub mod script;
pub mod stopwatch;
pub mod timeouts;
pub mod world;
