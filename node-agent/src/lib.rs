//! Portolan, as a library for its own binary, tests and benches. Data flows `source` → `engine` → `sink`; imports point
//! inwards; `agent` wires the stages.

pub mod agent;
pub mod api_server;
pub mod args;
mod cluster_sinks;
pub mod command;
pub mod config;
pub mod descriptors;
pub mod doctor;
pub mod doctor_sources;
mod heartbeat;
pub mod memory;
pub mod pipeline;
#[cfg(test)]
mod pipeline_tests;
pub mod read_model;
mod reload;
pub mod scan;
pub mod scan_once;
mod scan_time;
pub mod sink;
pub mod source;
mod sources;
mod spelling;
mod status_lines;
mod wiring_export;
mod wiring_options;
mod wiring_servers;
pub mod yaml_words;
