//! The public contract of portolan: wire types, filters, label selector, escaping, tables and text.
//!
//! Commands and agent share this crate, so that both read and write one schema. It does no IO.
#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub)]

pub mod amiss;
pub mod answer;
pub mod cells;
pub mod chart;
pub mod chart_export;
pub mod chart_filter;
pub mod chart_fold;
pub mod error_text;
pub mod escape;
pub mod exception_rule;
pub mod explain_text;
pub mod explanation;
pub mod facts;
pub mod filter;
pub mod fingerprint;
pub mod idle;
pub mod idle_table;
pub mod json_list;
pub mod junit;
pub mod label_selector;
pub mod name_list;
pub mod policy_basis;
pub mod status_table;
pub mod table;
#[cfg(test)]
mod test_objects;
pub mod text;
pub mod wire;
pub mod workload_table;
