//! The contract between the kernel programs and the agent: records, map keys and values, counters.
//! `no_std`, without code that needs the kernel, so that the host can test it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
pub mod packet;
