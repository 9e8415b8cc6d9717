//! What the allocator keeps for itself. glibc holds on to what a burst needed (a thousand new peers, a scan of everything):
//! between bursts it is told to give that back, so that the agent's size is that of what it knows.

/// From this size on a block is a mapping of its own, which goes when it is freed. glibc would raise this limit with every
/// such block, up to 32 MiB.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 128 * 1024;
/// The agent's threads seldom allocate at once, and each pool keeps its own leftovers: with two, a full node takes 6 MB
/// more.
#[cfg(target_env = "gnu")]
const POOLS: libc::c_int = 1;

/// Sets the limits; called once, before there are threads.
#[cfg(target_env = "gnu")]
pub fn limit() {
    // SAFETY: mallopt takes plain numbers; glibc refuses what it does not know by returning 0, and then nothing changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_ARENA_MAX, POOLS);
    }
}

/// Gives free pages back to the kernel: about a millisecond.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: malloc_trim touches nothing that is in use, and may be called from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators have their own ways.
#[cfg(not(target_env = "gnu"))]
pub fn limit() {}

/// Other allocators have their own ways.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
