//! What the cases stand on: networks of namespaces, actors in them, the agent itself, and the kernel's own list to
//! compare it with.

pub mod actor;
pub mod agent;
pub mod http;
pub mod leaks;
pub mod manifest;
pub mod network;
pub mod oracle;
pub mod patience;
pub mod stopwatch;
pub mod world;
