//! The only file that reads clocks. Everything else is handed a `BootTime`, and asks here for its wall-clock form at the
//! very edge.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use portolan_engine::model::identity::BootTime;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds of CLOCK_BOOTTIME: the clock of `bpf_ktime_get_boot_ns`.
#[must_use]
pub fn now() -> BootTime {
    let nanos = nanos(&clock_gettime(ClockId::Boottime));
    BootTime(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// CPU time that the calling thread has used, in the kernel and outside.
#[must_use]
pub fn thread_cpu() -> Duration {
    let nanos = nanos(&clock_gettime(ClockId::ThreadCPUTime));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// The wall-clock time of `at`, by what the two clocks differ now.
#[must_use]
pub fn to_wall(at: BootTime) -> Timestamp {
    let offset = nanos(&clock_gettime(ClockId::Realtime)) - nanos(&clock_gettime(ClockId::Boottime));
    Timestamp::from_nanosecond(i128::from(at.0) + offset).unwrap_or(Timestamp::MAX)
}

/// The other way round; the time of boot for what was before.
#[must_use]
pub fn to_boot(at: Timestamp) -> BootTime {
    let since_boot = at.as_nanosecond() - booted_at().as_nanos();
    BootTime(u64::try_from(since_boot.max(0)).unwrap_or(u64::MAX))
}

/// The wall-clock time now.
#[must_use]
pub fn wall_now() -> Timestamp {
    to_wall(now())
}

/// The time of boot in wall-clock terms, as the clocks stand now: what `to_wall` adds.
#[must_use]
pub fn booted_at() -> SignedDuration {
    to_wall(BootTime(0)).as_duration()
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
    }
}
