//! Checks the agent when the wall clock jumps: records carry the new time, and no deadline depends on the old time.

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::agent::{Agent, text};
use crate::expectations::called;
use crate::world::ADDRESS;

const AHEAD: u16 = 9696;
const BACK: u16 = 9797;
const HOUR: i64 = 3600;
/// Maximum difference between a listener's time and the clock: this machine is emulated.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Sets the clock an hour ahead, and back.
///
/// # Errors
/// If a finding is missing or has the wrong time.
pub fn jump(agent: &mut Agent) -> Result<String> {
    for (by, port) in [(HOUR, AHEAD), (-HOUR, BACK)] {
        let now = clock_gettime(ClockId::Realtime);
        clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec + by, ..now })
            .context("set the clock")?;
        called(agent, ADDRESS, port).with_context(|| format!("after a jump of {by} s"))?;
        let opened = agent.wait(|records| {
            let listener = records.last("Listener", "TCP", port).context("no Listener of that port")?;
            text(listener, "/openedAt").parse::<Timestamp>().context("no time")
        })?;
        let off =
            Timestamp::from_second(clock_gettime(ClockId::Realtime).tv_sec)?.duration_since(opened).abs();
        ensure!(off < TOLERANCE, "after a jump of {by} s it says {opened}, which is {off:#} off");
    }
    Ok(String::new())
}
