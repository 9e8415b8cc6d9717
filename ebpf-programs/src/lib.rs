//! The contract between the kernel programs and the agent: records, map keys and values, counters.
//! It is `no_std`, holds no code that needs the kernel, and is tested on the host.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
pub mod packet;
