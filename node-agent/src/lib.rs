//! The portolan agent as a library, for its own binary, tests and benches.
//!
//! Data flows `source` → engine → `sink`. `agent` wires the stages, `pipeline` owns the engine, and `command` maps what was
//! typed to `agent`, `scan`, `doctor` or a question of the client crate.

pub mod agent;
pub mod args;
pub mod command;
pub mod config;
pub mod doctor;
pub mod kubernetes_api;
pub mod pipeline;
pub mod retry;
pub mod scan;
pub mod sink;
pub mod source;
