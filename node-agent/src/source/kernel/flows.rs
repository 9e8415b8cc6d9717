//! What each CPU has counted of its flows and not yet added to the maps. The programs write while this reads: three reads of
//! the map tell which slots passed from one flow to another meanwhile.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{Ordering, fence};

use aya::maps::{MapData, PerCpuArray};
use portolan_ebpf::abi::flow::{FLOW_SLOTS, FlowSlot};
use portolan_ebpf::abi::traffic::PeerKey;
use zerocopy::FromBytes;

use super::batch::look_up;

/// The map; read by its descriptor alone.
pub type FlowMap = PerCpuArray<MapData, [u8; CPU_SIZE]>;

const CPU_SIZE: usize = size_of::<[FlowSlot; FLOW_SLOTS]>();

/// Counts of one flow on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub cpu: usize,
    pub key: PeerKey,
    /// Which entry of `PORT_STATS` they are for, on this CPU.
    pub generation: u32,
    /// Which entry of `PEERS` they are for.
    pub peer_first_boot_ns: u64,
    pub packets: u64,
    pub bytes: u64,
}

/// Reads `FLOWS`; keeps its buffer.
#[derive(Debug)]
pub struct FlowReader {
    cpus: Vec<u8>,
}

impl FlowReader {
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        Self { cpus: vec![0; CPU_SIZE * cpus] }
    }

    /// The flows that are kept now. What [`Self::read`] tells later of others is for the next drain.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn kept(&mut self, map: BorrowedFd<'_>) -> io::Result<Vec<PeerKey>> {
        let used = self.slots(map)?.filter(|(_, slot)| slot.generation != 0);
        Ok(used.map(|(_, slot)| slot.key).collect())
    }

    /// What is pending, and whether that is all: `false` where slots were flushed while they were read.
    ///
    /// Nothing is told twice that was read from the maps before: a slot is emptied before its counts are added there.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn read(&mut self, map: BorrowedFd<'_>) -> io::Result<(Vec<Pending>, bool)> {
        let before: Vec<u64> = self.slots(map)?.map(|(_, slot)| slot.version).collect();
        let now: Vec<(usize, Pending)> = self
            .slots(map)?
            .enumerate()
            .filter_map(|(n, (cpu, slot))| Some((n, pending(cpu, &slot)?)))
            .collect();
        let after: Vec<u64> = self.slots(map)?.map(|(_, slot)| slot.version).collect();
        Ok(settled(&before, now, &after))
    }

    /// Every slot, with its CPU.
    fn slots(&mut self, map: BorrowedFd<'_>) -> io::Result<impl Iterator<Item = (usize, FlowSlot)>> {
        // No processor moves a read of one round into another.
        fence(Ordering::SeqCst);
        look_up(map, &0_u32.to_ne_bytes(), &mut self.cpus)?;
        Ok(self.cpus.chunks_exact(CPU_SIZE).enumerate().flat_map(|(cpu, slots)| {
            let slots = slots.chunks_exact(size_of::<FlowSlot>());
            slots.filter_map(move |slot| Some((cpu, FlowSlot::read_from_bytes(slot).ok()?)))
        }))
    }
}

fn pending(cpu: usize, slot: &FlowSlot) -> Option<Pending> {
    let FlowSlot { key, generation, peer_first_boot_ns, packets, bytes, .. } = *slot;
    let is_pending = generation != 0 && (packets != 0 || bytes != 0);
    is_pending.then_some(Pending { cpu, key, generation, peer_first_boot_ns, packets, bytes })
}

/// What was read of the slots whose version did not move around it: only that belongs together.
fn settled(before: &[u64], now: Vec<(usize, Pending)>, after: &[u64]) -> (Vec<Pending>, bool) {
    let is_settled = |(before, after): (&u64, &u64)| before == after && before % 2 == 0;
    let stable: Vec<bool> = before.iter().zip(after).map(is_settled).collect();
    let whole = stable.iter().all(|stable| *stable);
    let now = now.into_iter().filter(|(n, _)| stable.get(*n) == Some(&true));
    (now.map(|(_, pending)| pending).collect(), whole)
}

#[cfg(test)]
mod tests {
    use portolan_ebpf::abi::traffic::PortKey;

    use super::*;

    fn flow(packets: u64) -> Pending {
        let port = PortKey { netns_cookie: 1, port: 80, protocol: 6, reserved: [0; 5] };
        let key = PeerKey { port, address: [7; 16] };
        Pending { cpu: 0, key, generation: 3, peer_first_boot_ns: 9, packets, bytes: packets }
    }

    fn packets(before: u64, after: u64) -> (Vec<u64>, bool) {
        let (flows, whole) = settled(&[before, 2], vec![(0, flow(4)), (1, flow(50))], &[after, 2]);
        (flows.iter().map(|flow| flow.packets).collect(), whole)
    }

    #[test]
    fn a_slot_that_passes_on_is_left_out_and_said() {
        assert_eq!(packets(4, 4), (vec![4, 50], true));
        assert_eq!(packets(4, 6), (vec![50], false));
        assert_eq!(packets(5, 5), (vec![50], false));
    }
}
