//! Decides what to report about ports and pods, from the state alone. Imports everything except `apply`.

mod attribution;
mod context;
mod datagrams;
mod forwarded;
pub(crate) mod nat_path;
mod pod;
mod port;
mod port_finding;
mod remembered;
mod repeats;
mod service_names;
mod storms;
mod suppression;
