//! Decides what to report about ports and pods, from the state alone. Imports everything except `apply`.

mod attribution;
mod context;
pub(crate) mod nat_path;
mod pod;
mod port;
mod port_finding;
mod storms;
mod suppression;
