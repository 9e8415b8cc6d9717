//! Decides what to report about ports and pods, from the state alone. Imports everything except `apply`.

mod nat_path;
mod pod;
mod port;
mod storms;
mod suppression;
