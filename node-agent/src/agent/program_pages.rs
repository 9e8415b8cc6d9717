//! Unmaps pages of the program's own file that are not in use. The kernel maps 64 KiB around each page that runs (since 6.18 the
//! whole folio of the page cache, up to 2 MiB), so code and constants of the start and of rare requests stay in the resident size
//! for good. What runs on is mapped again from the page cache at its next use. The file stays there as long as memory is not short.

use std::path::Path;

use procfs::ProcResult;
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

/// Statistics of a mapping whose pages differ from the file.
const CHANGED: [&str; 2] = ["Anonymous", "Swap"];

/// Unmaps the pages; takes about a millisecond. Does nothing if the kernel does not say what is mapped.
pub fn give_back() {
    match unchanged() {
        Ok(mappings) => mappings.into_iter().for_each(unmap),
        Err(error) => tracing::debug!(%error, "the program's own mappings cannot be read"),
    }
}

/// Returns first address and length of the mappings of the program's file that were never written.
fn unchanged() -> ProcResult<Vec<(u64, u64)>> {
    let process = Process::myself()?;
    let program = process.exe()?;
    let mappings = process.smaps()?;
    let unchanged = mappings.0.iter().filter(|mapping| is_unchanged(mapping, &program));
    Ok(unchanged.map(|mapping| (mapping.address.0, mapping.address.1 - mapping.address.0)).collect())
}

/// Returns true for code and constants. Relocated data is read-only as well, but its pages are not those of the file any more.
fn is_unchanged(mapping: &MemoryMap, program: &Path) -> bool {
    let MMapPath::Path(path) = &mapping.pathname else { return false };
    let statistic = |name: &str| mapping.extension.map.get(name).copied();
    path == program
        && mapping.perms.contains(MMPermissions::READ | MMPermissions::PRIVATE)
        && !mapping.perms.contains(MMPermissions::WRITE)
        && CHANGED.iter().all(|name| statistic(name) == Some(0))
}

fn unmap((address, length): (u64, u64)) {
    let (Ok(address), Ok(length)) = (usize::try_from(address), usize::try_from(length)) else { return };
    // SAFETY: the range is a private mapping of the program's file without the right to write and without a page that differs
    // from the file, which the kernel lets nobody change while the program runs. So each page has the same content when it is
    // used next, also by this function. If a debugger or an uprobe changes a page in between, its change is lost.
    unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(address), length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident bytes of the mappings that are unmapped.
    fn resident() -> u64 {
        let process = Process::myself().expect("/proc");
        let program = process.exe().expect("a path");
        let mappings = process.smaps().expect("mappings");
        let own = mappings.0.iter().filter(|mapping| is_unchanged(mapping, &program));
        own.map(|mapping| mapping.extension.map["Rss"]).sum()
    }

    #[test]
    fn pages_that_do_not_run_leave_and_the_program_runs_on() {
        for (address, length) in unchanged().expect("mappings") {
            for page in (address..address + length).step_by(4096) {
                let page = usize::try_from(page).expect("an address");
                // SAFETY: a mapping of this process that can be read.
                let _ = unsafe { std::ptr::read_volatile(std::ptr::with_exposed_provenance::<u8>(page)) };
            }
        }
        let before = resident();
        give_back();
        let after = resident();
        assert!((1..before).contains(&after), "{before} bytes were resident, {after} are");
        assert_eq!(format!("{:?}", "x".repeat(2)), "\"xx\"");
    }

    #[test]
    fn data_that_was_relocated_or_written_stays() {
        let unchanged = unchanged().expect("mappings");
        assert!(!unchanged.is_empty());
        static mut WRITTEN: u64 = 1;
        for data in [&raw const WRITTEN as u64, (&raw const RELOCATED) as u64] {
            let holds = |(start, length): &(u64, u64)| (*start..start + length).contains(&data);
            assert!(!unchanged.iter().any(holds), "{data:x} in {unchanged:x?}");
        }
        assert_eq!(RELOCATED("a"), 1);
    }

    /// A pointer, which the loader writes.
    static RELOCATED: fn(&str) -> usize = str::len;
}
