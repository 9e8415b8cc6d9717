//! Stands in for Kubernetes' API server over real sockets: lists, watches, pages, bookmarks, discovery, creation and
//! server-side apply, well enough for kubectl. Responses follow measurements of the real server. Injects faults: error
//! statuses, stalls, truncated or broken responses, outages, lost history, rotated tokens and authorities.

pub mod access;
mod answer;
mod authorization;
mod body;
mod discovery;
pub mod fault;
mod form;
mod forward;
mod job_controller;
mod list;
pub mod log;
pub mod object;
mod pod_log;
pub mod pod_outcome;
mod query;
pub mod recorded;
pub mod resource;
pub mod server;
pub mod settings;
mod state;
pub mod store;
mod valid;
mod watch;
mod write;
