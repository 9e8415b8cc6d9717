//! What the tests of several crates share: a server that stands in for Kubernetes' API server, scratch directories,
//! waiting, and the lookup of tools.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "made for tests, which fail by panicking"
)]

pub mod api_server;
pub mod scratch;
pub mod tools;
pub mod waiting;
