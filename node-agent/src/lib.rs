//! The portolan agent as a library, for its own binary, tests and benchmarks.
//!
//! Data flows `source` → engine → `sink`. `agent` wires the stages and `pipeline` owns the engine. `command` starts the
//! subcommand that was typed: `agent`, `scan`, `doctor`, or a query of the client crate.

pub mod agent;
pub mod args;
pub mod command;
pub mod config;
pub mod doctor;
pub mod finding_memory;
pub mod kubernetes_api;
pub mod outcome;
pub mod pipeline;
pub mod retry;
pub mod scan;
pub mod sink;
pub mod source;
pub mod state;
