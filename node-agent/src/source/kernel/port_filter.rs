//! The agent's half of the filter before `PORT_STATS`: entries removed minus entries created. The programs write the
//! other half, so that neither side's update can be lost. `ebpf-programs/src/ports.rs` explains why the filter never
//! hides a port.

use aya::maps::{Array, MapData, MapError};
use portolan_ebpf::abi::traffic::{PORTS_MADE_BY_AGENT, PORTS_TOTAL, PortKey, port_bucket};

/// The map `PORTS_TAKEN`.
pub struct PortFilter(pub Array<MapData, u64>);

impl PortFilter {
    /// Counts an entry that is about to be created.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn will_create(&mut self, port: &PortKey) -> Result<(), MapError> {
        self.add(port_bucket(port), u64::MAX)
    }

    /// Counts an entry that was created, for the total.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn created(&mut self) -> Result<(), MapError> {
        self.add(PORTS_MADE_BY_AGENT, 1)
    }

    /// Corrects the count if the entry was not created, because it existed already or there is no room.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn did_not_create(&mut self, port: &PortKey) -> Result<(), MapError> {
        self.add(port_bucket(port), 1)
    }

    /// Counts an entry that was removed. From then on the programs do not use flows that they kept for it.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn removed(&mut self, port: &PortKey) -> Result<(), MapError> {
        self.add(PORTS_TOTAL, 1)?;
        self.add(port_bucket(port), 1)
    }

    fn add(&mut self, index: u32, by: u64) -> Result<(), MapError> {
        let now = self.0.get(&index, 0)?;
        self.0.set(index, now.wrapping_add(by), 0)
    }
}
