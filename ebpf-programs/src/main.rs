//! The kernel object: entry points of every hook. Only the BPF target builds it; on the host it is empty.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}
