//! The api tier: the sources and sinks that talk to Kubernetes' API server, against one that stands in for it over real sockets.
//! Needs neither root nor a network.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod credentials;
mod desk;
mod e2e;
mod events;
mod hostile;
mod kubectl;
mod listing;
mod memory;
mod outage;
mod refusal;
mod report_room;
mod report_trouble;
mod reports;
mod through;
mod world;
