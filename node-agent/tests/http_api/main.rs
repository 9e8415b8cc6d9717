//! The HTTP API over real sockets, in front of a model of known content: every route against golden files
//! (PORTOLAN_BLESS=1 rewrites them), hostile clients, and the commands that ask it.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[cfg(feature = "plugin")]
mod kubectl_portolan;
mod commands;
mod exchange;
mod golden;
mod hostile;
mod model;
mod routes;
mod schema;
mod served;
mod watching;
