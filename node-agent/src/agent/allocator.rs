//! Settings of the memory allocator. glibc keeps the memory that a burst needed (a thousand new peers, a scan of all netns);
//! the agent makes glibc return free pages between bursts, so that the resident size follows the live data.

/// Size from which a block gets a mapping of its own, which is unmapped when the block is freed. By default glibc raises this
/// limit with every such block, up to 32 MiB.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 128 * 1024;
/// Number of arenas. The agent's threads rarely allocate at the same time, and each arena keeps free memory of its own: with
/// two arenas, a full node takes 6 MB more.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 1;

/// Sets the limits. Call it once, before any thread is started.
#[cfg(target_env = "gnu")]
pub fn limit() {
    // SAFETY: mallopt takes plain numbers; for an unknown parameter glibc returns 0 and changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Returns free pages to the kernel; takes about a millisecond.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: malloc_trim only touches free memory, and may be called from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing with other C libraries.
#[cfg(not(target_env = "gnu"))]
pub fn limit() {}

/// Does nothing with other C libraries.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
