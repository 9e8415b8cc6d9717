//! The client side of portolan: asks one agent over its HTTP API, or the agents of all nodes of a cluster.
//!
//! The crate knows an agent only by its API, so that it builds for systems on which no agent runs.
#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub)]

pub mod args;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod exit;
pub mod fail_on;
#[cfg(feature = "kubeconfig")]
pub mod kubeconfig;
pub mod query;
// One file for both servers: the agent's, and that of `kubectl portolan ui`.
#[cfg(feature = "cluster")]
#[path = "../../src/sink/http/write_timeout.rs"]
mod write_timeout;
