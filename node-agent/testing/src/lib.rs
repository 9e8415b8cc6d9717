//! What the tests of several crates share: a server that stands in for Kubernetes' API server, and where tools are.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "made for tests, which fail by panicking")]

pub mod api_server;
pub mod tools;
