//! Loads and links programs by bpf(2) itself, because aya's loader parses an object for every load and finds an
//! interface only by its name.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_SK_LOOKUP: u32 = 36;
const BPF_TCX_INGRESS: u32 = 46;
/// Attaches before all other programs, if no other program is given.
const BPF_F_BEFORE: u32 = 1 << 3;

/// ProgramKind of a program that is loaded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    Ingress,
    Lookup,
}

impl ProgramKind {
    /// Returns `BPF_PROG_TYPE_…`, and the attach type that the kernel requires at load.
    const fn types(self) -> (u32, u32) {
        match self {
            Self::Ingress => (3, 0),
            Self::Lookup => (30, BPF_SK_LOOKUP),
        }
    }
}

/// `union bpf_attr` for BPF_PROG_LOAD, as of Linux 4.17.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` for BPF_LINK_CREATE with `tcx`.
#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    program: u32,
    /// A descriptor, or the index of an interface in the netns of the calling thread.
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    expected_revision: u64,
}

/// Loads a program. Its name is truncated to fifteen bytes.
///
/// # Errors
/// The error of bpf(2). The verifier's log is not requested.
pub fn load(kind: ProgramKind, name: &str, license: &CStr, instructions: &[u64]) -> io::Result<OwnedFd> {
    let (program_type, expected_attach_type) = kind.types();
    let mut attr = LoadAttr {
        program_type,
        expected_attach_type,
        instruction_count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..LoadAttr::default()
    };
    attr.name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: `attr` points to as many instructions as it says and to a string with an end, which outlive the call.
    unsafe { descriptor(BPF_PROG_LOAD, std::ptr::from_mut(&mut attr).cast(), size_of::<LoadAttr>()) }
}

/// Attaches an sk_lookup program to a netns.
///
/// # Errors
/// The error of bpf(2).
pub fn link_lookup(program: BorrowedFd<'_>, netns: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    link(program, netns.as_raw_fd() as u32, BPF_SK_LOOKUP, 0)
}

/// Attaches a tc program, before all others, to the ingress of an interface in the calling thread's netns. Waits for an
/// RCU grace period.
///
/// # Errors
/// The error of bpf(2): EINVAL if the kernel has no TCX, ENODEV if there is no such interface.
pub fn link_ingress(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    link(program, interface, BPF_TCX_INGRESS, BPF_F_BEFORE)
}

fn link(program: BorrowedFd<'_>, target: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd() as u32;
    let mut attr = LinkAttr { program, target, attach_type, flags, ..LinkAttr::default() };
    // SAFETY: `attr` holds no pointers.
    unsafe { descriptor(BPF_LINK_CREATE, std::ptr::from_mut(&mut attr).cast(), size_of::<LinkAttr>()) }
}

/// # Safety
/// `attr` must be the attribute of this command, of this size, and what it points to must be valid.
unsafe fn descriptor(command: libc::c_long, attr: *mut libc::c_void, size: usize) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(answer).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: both commands answer with a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
