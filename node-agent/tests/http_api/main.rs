//! The HTTP API over real sockets with a read model of known content: every route against golden files (PORTOLAN_BLESS=1
//! writes them), hostile clients, and the commands that query it.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod baseline;
mod chart;
#[cfg(feature = "cluster")]
mod chart_agent;
mod cluster;
#[cfg(feature = "cluster")]
mod cluster_doctor;
#[cfg(feature = "cluster")]
mod cluster_ui;
#[cfg(feature = "cluster")]
mod cluster_ui_agents;
#[cfg(feature = "cluster")]
mod cluster_verbs;
#[cfg(feature = "cluster")]
mod cluster_watch;
mod commands;
mod exchange;
mod explain;
mod golden;
mod half_list;
mod hostile;
#[cfg(feature = "cluster")]
mod idle;
#[cfg(feature = "cluster")]
mod images;
#[cfg(feature = "cluster")]
mod kubectl_portolan;
mod model;
mod one_agent;
mod page;
mod parameters;
mod routes;
mod schema;
mod served;
#[cfg(feature = "cluster")]
mod ui_page;
mod watching;
