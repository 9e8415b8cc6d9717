//! Stands in for Kubernetes' API server: lists, watches, pages, bookmarks, discovery, creation and server-side apply over real sockets, answering as the
//! real one was measured to, well enough for kubectl. Faults on demand: refusals, silence, cut and broken answers,
//! outages, lost history, rotated tokens and authorities.

pub mod access;
mod answer;
mod body;
mod discovery;
pub mod fault;
mod forward;
mod list;
pub mod log;
pub mod object;
mod query;
pub mod resource;
pub mod server;
pub mod store;
mod valid;
mod watch;
mod write;
