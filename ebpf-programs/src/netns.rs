//! The kernel object that is loaded once per netns, and therefore tiny: its programs know their netns by constants, hand
//! them over and call the shared programs, which the verifier has seen once. Only the BPF target builds it.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod handover;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod place;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
