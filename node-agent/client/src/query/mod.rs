//! The commands that ask one agent over its HTTP API and show the answer.

mod agent_query;
pub(crate) mod baseline;
pub mod console;
pub mod declare;
pub mod diff;
pub mod error;
pub mod explain;
pub mod filters;
pub(crate) mod follow;
pub(crate) mod idle;
pub mod images;
pub mod junit;
mod list;
pub(crate) mod outcome;
pub mod pages;
pub mod policy;
pub mod remedies;
pub mod request;
pub mod server;
pub mod show;
pub mod sse;
pub(crate) mod status;
pub mod top;
pub mod url;
mod watch;

pub use baseline::baseline;
pub use list::{connections, findings, listeners};
pub use status::status;
pub use top::top;
