//! The decisions: sockets, pods and declarations in, findings out. Nothing here does IO, reads a clock, spawns, locks or
//! fails; the same facts in any order end in the same state.
#![forbid(unsafe_code)]

pub mod change;
pub mod identity;
pub mod input;
pub mod pod;
