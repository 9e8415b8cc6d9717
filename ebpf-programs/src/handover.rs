//! The map through which a netns's own programs tell the shared ones where they run. A module of both kernel objects; its
//! pin makes it one map.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use portolan_ebpf::abi::netns::Handover;

#[map]
pub static HANDOVER: PerCpuArray<Handover> = PerCpuArray::pinned(2, 0);
