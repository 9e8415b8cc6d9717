//! Reads the counts that each CPU holds per flow and has not yet added to the maps. The programs write meanwhile, so
//! the map is read three times to detect slots that passed from one flow to another.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{Ordering, fence};

use aya::maps::{MapData, PerCpuArray};
use portolan_ebpf::abi::flow::{FLOW_SLOTS, FlowSlot};
use portolan_ebpf::abi::traffic::PeerKey;
use zerocopy::FromBytes;

use super::batch::look_up;

/// The map `FLOWS`; read by its descriptor only.
pub type FlowMap = PerCpuArray<MapData, [u8; CPU_SIZE]>;

const CPU_SIZE: usize = size_of::<[FlowSlot; FLOW_SLOTS]>();

/// Pending counts of one flow on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub cpu: usize,
    pub key: PeerKey,
    /// Generation of the entry of `PORT_STATS` on this CPU that the counts belong to.
    pub generation: u32,
    /// Creation time of the entry of `PEERS` that the counts belong to.
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

    /// Returns the flows that have a slot now. Counts that [`Self::read`] returns later for other flows belong to the
    /// next drain.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn active(&mut self, map: BorrowedFd<'_>) -> io::Result<Vec<PeerKey>> {
        let used = self.slots(map)?.filter(|(_, slot)| slot.generation != 0);
        Ok(used.map(|(_, slot)| slot.key).collect())
    }

    /// Returns the pending counts, and whether they are complete: `false` if slots were flushed during the read.
    ///
    /// Counts that were read from the maps before are not returned again: a program empties a slot before it adds the
    /// slot's counts to the maps.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn read(&mut self, map: BorrowedFd<'_>) -> io::Result<(Vec<Pending>, bool)> {
        let before: Vec<u64> = self.slots(map)?.map(|(_, slot)| slot.version).collect();
        let now: Vec<(usize, Pending)> = self
            .slots(map)?
            .enumerate()
            .filter_map(|(n, (cpu, slot))| Some((n, pending(cpu, &slot)?)))
            .collect();
        let after: Vec<u64> = self.slots(map)?.map(|(_, slot)| slot.version).collect();
        Ok(consistent(&before, now, &after))
    }

    /// Returns every slot with its CPU.
    fn slots(&mut self, map: BorrowedFd<'_>) -> io::Result<impl Iterator<Item = (usize, FlowSlot)>> {
        // Keeps the processor from reordering the reads of two rounds.
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

/// Keeps the counts of slots whose version is even and did not change around the read; only those are consistent.
fn consistent(before: &[u64], now: Vec<(usize, Pending)>, after: &[u64]) -> (Vec<Pending>, bool) {
    let is_stable = |(before, after): (&u64, &u64)| before == after && before % 2 == 0;
    let stable: Vec<bool> = before.iter().zip(after).map(is_stable).collect();
    let complete = stable.iter().all(|stable| *stable);
    let now = now.into_iter().filter(|(n, _)| stable.get(*n) == Some(&true));
    (now.map(|(_, pending)| pending).collect(), complete)
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
        let (flows, complete) = consistent(&[before, 2], vec![(0, flow(4)), (1, flow(50))], &[after, 2]);
        (flows.iter().map(|flow| flow.packets).collect(), complete)
    }

    #[test]
    fn a_slot_that_passes_on_is_left_out_and_said() {
        assert_eq!(packets(4, 4), (vec![4, 50], true));
        assert_eq!(packets(4, 6), (vec![50], false));
        assert_eq!(packets(5, 5), (vec![50], false));
    }
}
