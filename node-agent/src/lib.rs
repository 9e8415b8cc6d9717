//! Portolan, as a library for its own binary, tests and benches. Data flows `source` → `engine` → `sink`; imports point
//! inwards; `agent` wires the stages.

pub mod agent;
pub mod args;
pub mod command;
pub mod config;
pub mod descriptors;
pub mod doctor;
pub mod doctor_sources;
pub mod engine;
pub mod exit;
mod heartbeat;
pub mod memory;
pub mod pipeline;
pub mod query;
pub mod scan;
pub mod scan_once;
pub mod sink;
pub mod source;
mod wiring_options;
