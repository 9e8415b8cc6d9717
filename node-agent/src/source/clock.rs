//! The only file that reads clocks. All other code takes a `BootTime` as an argument; sources and sinks convert to wall-clock
//! time here.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use portolan_engine::model::identity::BootTime;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Reads CLOCK_BOOTTIME in nanoseconds, the clock of `bpf_ktime_get_boot_ns`.
#[must_use]
pub fn now() -> BootTime {
    let nanos = nanos(&clock_gettime(ClockId::Boottime));
    BootTime(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns the CPU time of the calling thread, in the kernel and in user space.
#[must_use]
pub fn thread_cpu() -> Duration {
    let nanos = nanos(&clock_gettime(ClockId::ThreadCPUTime));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Converts to wall-clock time, with the current difference of the two clocks.
#[must_use]
pub fn to_wall(at: BootTime) -> Timestamp {
    let offset = nanos(&clock_gettime(ClockId::Realtime)) - nanos(&clock_gettime(ClockId::Boottime));
    Timestamp::from_nanosecond(i128::from(at.0) + offset).unwrap_or(Timestamp::MAX)
}

/// Converts from wall-clock time; a time before boot becomes the time of boot.
#[must_use]
pub fn to_boot(at: Timestamp) -> BootTime {
    let since_boot = at.as_nanosecond() - booted_at().as_nanos();
    BootTime(u64::try_from(since_boot.max(0)).unwrap_or(u64::MAX))
}

/// Returns the wall-clock time of now.
#[must_use]
pub fn wall_now() -> Timestamp {
    to_wall(now())
}

/// Returns the wall-clock time of boot, with the current difference of the two clocks.
#[must_use]
pub fn booted_at() -> SignedDuration {
    to_wall(BootTime(0)).as_duration()
}

/// Returns the kernel's id of this boot. Boot times of two processes can be compared if their ids are equal.
///
/// # Errors
/// If /proc is not mounted.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

fn nanos(time: &Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_converts_to_the_wall_clock_and_keeps_distances() {
        let at = now();
        let later = at.after(Duration::from_secs(60));
        let distance = to_wall(later).duration_since(to_wall(at));
        assert!((distance.as_secs_f64() - 60.0).abs() < 0.5, "{distance:?}");
        assert!(now() >= at);
        assert!(to_boot(to_wall(later)).since(at).as_secs_f64() - 60.0 < 0.5);
        assert_eq!(to_boot(Timestamp::UNIX_EPOCH), BootTime(0));
        assert_eq!(boot_id().expect("/proc").len(), 36);
    }
}
