//! The kernel object that is loaded once per netns. Its programs are small: they hold their netns as constants, hand these over
//! and tail-call the shared programs, which the verifier checks only once. Built for the BPF target only.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod handover;
#[cfg(target_arch = "bpf")]
mod netns_programs;
#[cfg(target_arch = "bpf")]
mod object;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
