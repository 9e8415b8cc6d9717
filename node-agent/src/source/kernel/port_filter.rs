//! The agent's half of the filter before `PORT_STATS`: what it took out, less what it made. The programs write the other half, so
//! that neither side's update can be lost. See `ebpf-programs/src/ports.rs` for why it never hides a port.

use aya::maps::{Array, MapData, MapError};
use portolan_ebpf::abi::traffic::{PORTS_TOTAL, PortKey, port_bucket};

/// The map `PORTS_TAKEN`.
pub struct PortFilter(pub Array<MapData, u64>);

impl PortFilter {
    /// Before an entry is made.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn will_make(&mut self, port: &PortKey) -> Result<(), MapError> {
        self.add(port_bucket(port), u64::MAX)
    }

    /// It was not made, since it was there already or there is no room.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn did_not_make(&mut self, port: &PortKey) -> Result<(), MapError> {
        self.add(port_bucket(port), 1)
    }

    /// After an entry was taken out. From then on the programs use no flow that they kept for it.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn took(&mut self, port: &PortKey) -> Result<(), MapError> {
        self.add(PORTS_TOTAL, 1)?;
        self.add(port_bucket(port), 1)
    }

    fn add(&mut self, index: u32, by: u64) -> Result<(), MapError> {
        let now = self.0.get(&index, 0)?;
        self.0.set(index, now.wrapping_add(by), 0)
    }
}
