//! Templates of the programs of one netns: instructions that are relocated once, and in which only the constants of a
//! netns are set before each load. Parsing the object anew for each netns would take ten times as long as the kernel
//! takes to load it.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use aya::Ebpf;
use aya::maps::Map;
use aya_obj::Object;
use aya_obj::generated::bpf_insn;
use portolan_ebpf::abi::netns::{LINK_HEADER_UNSET, LOOKUPS_UNSET, NETNS_COOKIE_UNSET};
use portolan_engine::model::identity::NetnsId;

use super::object::{LOAD_CONSTANT, LookupScope, MOVE_CONSTANT, link_header_bytes};
use super::program_syscalls::{self, ProgramKind};
use crate::source::netns::look::LinkHeader;

/// The templates of both programs.
pub struct ProgramTemplates {
    ingress: Template,
    lookup: Template,
    license: CString,
    /// The instructions refer to the maps by descriptor number.
    _maps: Vec<OwnedFd>,
}

/// One program and the positions of its constants.
#[derive(Debug, PartialEq, Eq)]
struct Template {
    name: &'static str,
    /// Instructions in the kernel's form.
    instructions: Vec<u64>,
    /// Position of the first of two instructions whose upper halves are the halves of the cookie.
    cookie: usize,
    /// Position of the program's other constant: the link header's length (tc), or whose lookups count (sk_lookup).
    constant: usize,
}

impl ProgramTemplates {
    /// Creates templates from the kernel object of one netns, whose constants are not set, and from one load of that
    /// object, whose maps they use.
    ///
    /// # Errors
    /// When the object is not ours, or a map is missing.
    pub fn new(object: &[u8], loaded: &Ebpf) -> Result<Self, String> {
        let mut object = Object::parse(object).map_err(|error| error.to_string())?;
        let mut maps = Vec::new();
        let named = object.maps.clone();
        let mut map_fds: Vec<(&str, RawFd, &aya_obj::Map)> = Vec::new();
        for (name, map) in &named {
            let fd = descriptor(loaded, name).ok_or_else(|| format!("the map {name} is not loaded"))?;
            map_fds.push((name.as_str(), fd.as_raw_fd(), map));
            maps.push(fd);
        }
        let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_maps(map_fds.into_iter(), &sections).map_err(|error| error.to_string())?;
        object.relocate_calls(&sections).map_err(|error| error.to_string())?;
        Ok(Self {
            ingress: Template::of(&object, "portolan_tc", LINK_HEADER_UNSET)?,
            lookup: Template::of(&object, "portolan_sk", LOOKUPS_UNSET)?,
            license: object.license,
            _maps: maps,
        })
    }

    /// Loads the tc program for the interfaces of a netns that have this link header.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn load_ingress(&self, netns: NetnsId, link_header: LinkHeader) -> io::Result<OwnedFd> {
        self.load(ProgramKind::Ingress, &self.ingress, netns, link_header_bytes(link_header))
    }

    /// Loads the sk_lookup program of a netns.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn load_lookup(&self, netns: NetnsId, lookups: LookupScope) -> io::Result<OwnedFd> {
        self.load(ProgramKind::Lookup, &self.lookup, netns, lookups.constant())
    }

    fn load(
        &self,
        kind: ProgramKind,
        template: &Template,
        netns: NetnsId,
        constant: u32,
    ) -> io::Result<OwnedFd> {
        let instructions = template.instructions_for(netns, constant);
        program_syscalls::load(kind, template.name, &self.license, &instructions)
    }
}

impl Template {
    /// Finds a program whose own constant is `unset`.
    fn of(object: &Object, name: &'static str, unset: u32) -> Result<Self, String> {
        let program = object.programs.get(name);
        let function = program.and_then(|program| object.functions.get(&program.function_key()));
        let instructions = function.ok_or_else(|| format!("the kernel object has no program {name}"))?;
        Self::find(name, instructions.instructions.iter().map(number).collect(), unset)
            .ok_or_else(|| format!("{name} has no place for its constants"))
    }

    fn find(name: &'static str, instructions: Vec<u64>, unset: u32) -> Option<Self> {
        let [low, high] = halves(NETNS_COOKIE_UNSET);
        let mut pairs = instructions.windows(2);
        let cookie = pairs.position(|pair| {
            let [first, second] = *pair else { return false };
            opcode(first) == LOAD_CONSTANT
                && source(first) == 0
                && [upper(first), upper(second)] == [low, high]
        })?;
        let constant =
            instructions.iter().position(|one| opcode(*one) == MOVE_CONSTANT && upper(*one) == unset)?;
        Some(Self { name, instructions, cookie, constant })
    }

    /// Returns the instructions with the constants of one netns.
    fn instructions_for(&self, netns: NetnsId, constant: u32) -> Vec<u64> {
        let mut instructions = self.instructions.clone();
        let mut set = |position: usize, constant: u32| {
            if let Some(instruction) = instructions.get_mut(position) {
                *instruction = *instruction & u64::from(u32::MAX) | u64::from(constant) << 32;
            }
        };
        let [low, high] = halves(netns.0);
        set(self.cookie, low);
        set(self.cookie + 1, high);
        set(self.constant, constant);
        instructions
    }
}

/// Duplicates the descriptor of a map of the netns object.
fn descriptor(loaded: &Ebpf, name: &str) -> Option<OwnedFd> {
    let (Map::PerCpuArray(map) | Map::ProgramArray(map)) = loaded.map(name)? else { return None };
    map.fd().as_fd().try_clone_to_owned().ok()
}

/// Returns `struct bpf_insn` as a number on a little-endian machine, the only kind that the object is built for.
fn number(instruction: &bpf_insn) -> u64 {
    let registers = instruction.dst_reg() | instruction.src_reg() << 4;
    let [offset_low, offset_high] = instruction.off.to_le_bytes();
    let [a, b, c, d] = instruction.imm.to_le_bytes();
    u64::from_le_bytes([instruction.code, registers, offset_low, offset_high, a, b, c, d])
}

const fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

const fn opcode(instruction: u64) -> u8 {
    instruction as u8
}

const fn source(instruction: u64) -> u8 {
    (instruction >> 12) as u8 & 0xf
}

const fn upper(instruction: u64) -> u32 {
    (instruction >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kernel::object::KERNEL_OBJECTS;

    const EXIT: u64 = 0x95;

    fn with_upper(lower: u64, upper: u32) -> u64 {
        lower | u64::from(upper) << 32
    }

    #[test]
    fn constants_are_set_where_they_belong_and_nowhere_else() {
        let [low, high] = halves(NETNS_COOKIE_UNSET);
        // The second instruction loads a map whose descriptor happens to be the same number.
        let map = with_upper(0x1218, low);
        let program = |cookie: [u32; 2], header| {
            let cookie = [with_upper(0x0218, cookie[0]), with_upper(0, cookie[1])];
            [&[EXIT, map, with_upper(0, high)], &cookie[..], &[with_upper(0x03b7, header), EXIT]].concat()
        };
        let unset = program([low, high], LINK_HEADER_UNSET);
        let template = Template::find("x", unset.clone(), LINK_HEADER_UNSET).expect("a template");
        let netns = NetnsId(0x1122_3344_5566_7788);
        assert_eq!(template.instructions_for(netns, 14), program([0x5566_7788, 0x1122_3344], 14));
        assert_eq!(template.instructions_for(NetnsId(1), 0), program([1, 0], 0));
        assert_eq!(Template::find("x", unset, LOOKUPS_UNSET), None);
        assert_eq!(Template::find("x", vec![EXIT, map, with_upper(0, high)], LINK_HEADER_UNSET), None);
    }

    #[test]
    fn the_embedded_object_has_the_constants() {
        let Some(objects) = &KERNEL_OBJECTS else { return };
        let object = Object::parse(objects.netns).expect("our object");
        for (name, unset) in [("portolan_tc", LINK_HEADER_UNSET), ("portolan_sk", LOOKUPS_UNSET)] {
            let found = Template::of(&object, name, unset);
            assert!(found.is_ok(), "{found:?}");
        }
    }
}
