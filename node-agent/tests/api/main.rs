//! The api tier: sources and sinks of the Kubernetes API server, with a stand-in server over real sockets. Needs neither root
//! nor a network.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod credentials;
mod e2e;
mod events;
mod hostile;
mod kubectl;
mod listing;
mod memory;
mod outage;
mod pipeline_to_report;
mod real_answers;
mod recorded;
mod refusal;
mod report_failures;
mod report_limits;
mod reports;
mod sink_world;
mod world;
