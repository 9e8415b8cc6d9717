//! The client side of portolan: questions to one agent over its HTTP API, and to all agents of a cluster.
//!
//! It knows an agent by its API only, so that it builds for systems on which no agent runs.
#![forbid(unsafe_code)]

pub mod args;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod exit;
pub mod query;
