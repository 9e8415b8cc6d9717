//! Portolan, as a library for its own binary, tests and benches. Data flows `source` → `engine` → `sink`; imports point
//! inwards; `agent` wires the stages.

pub mod args;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod scan_once;
pub mod sink;
pub mod source;
