//! Plain data: what sources report, what the engine knows objects by, and what it reports. Imports no other folder.

pub mod change;
pub mod connection;
pub mod exception;
pub(crate) mod families;
pub mod finding;
pub mod finding_code;
pub mod fingerprint;
pub mod identity;
pub mod input;
pub mod listener;
pub mod listing;
pub mod namespace;
pub mod netns;
pub mod network_policy;
pub mod options;
pub mod owner;
pub mod pod;
pub mod policy;
pub mod process;
pub mod reach;
pub mod remembered;
pub mod selector;
pub mod service;
pub mod socket;
pub mod totals;
pub mod traffic;
