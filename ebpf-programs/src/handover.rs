//! The map `HANDOVER`: a netns's own programs write where they run, the shared programs read it. Both kernel objects include
//! this module; the pin makes it one map.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use portolan_ebpf::abi::netns::Handover;

#[map]
pub static HANDOVER: PerCpuArray<Handover> = PerCpuArray::pinned(2, 0);
