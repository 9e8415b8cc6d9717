//! What the pipeline keeps of each finding beside the engine: its fingerprint, and the calls of its port per minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portolan_engine::Engine;
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::fingerprint::parse;
use portolan_engine::model::identity::{BootTime, Protocol};
use portolan_engine::model::traffic::Traffic;
use portolan_report::chart::MINUTES;

use crate::sink::http::query::PortCounts;

/// Maximum number of ports whose minutes are counted. Each takes about 80 bytes with its entry, and 120 more once it is
/// called (`cargo xtask bench --only engine`).
pub const MAX_PORTS: usize = 10_000;
/// Name of the table in the limits of the status.
pub const LIMIT: &str = "minutes";
/// Traffic since this time before a finding was opened counts for its first minute.
const FIRST_MINUTE: Duration = Duration::from_secs(60);

/// The open and suppressed findings, by id.
#[derive(Debug, Default)]
pub struct FindingIndex {
    entries: BTreeMap<u64, Entry>,
    /// Number of entries with minutes.
    counted: usize,
    /// Number of ports that wait for room among those with minutes.
    uncounted: usize,
    /// Number of the minute of the last sample since 1970.
    sampled: i64,
}

#[derive(Debug)]
struct Entry {
    fingerprint: u128,
    calls: Calls,
}

/// Whether the calls of a port are counted per minute.
#[derive(Debug)]
enum Calls {
    /// The finding is not about a served port.
    None,
    /// They would be, if there was room.
    Waiting,
    Counted(Minutes),
}

impl Calls {
    const fn minutes(&self) -> Option<&Minutes> {
        match self {
            Self::Counted(minutes) => Some(minutes),
            Self::None | Self::Waiting => None,
        }
    }
}

/// Calls of a port in the last minutes: connections, or packets of UDP.
#[derive(Debug)]
struct Minutes {
    /// Those of the minutes before the last one; `None` if there were none, as for most ports.
    counts: Option<Box<[Count; MINUTES - 1]>>,
    /// Those of the last minute so far, exact: they are counted in many parts.
    running: u32,
    /// Number of the last minute since 1970; 32 bits suffice for 4,000 years.
    last: i32,
    /// Total at the last sample.
    total: u64,
}

/// A count in 16 bits, exact up to 4095 and to 0.05 % beyond: 12 bits, and 4 bits by which they are shifted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count(u16);

impl Count {
    const BITS: u32 = 12;
    const MAX: u32 = 0xfff << 15;

    fn new(count: u64) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(Self::MAX);
        let shift = (u32::BITS - count.leading_zeros()).saturating_sub(Self::BITS);
        let bits = (count >> shift) | (shift << Self::BITS);
        Self(u16::try_from(bits).unwrap_or(u16::MAX))
    }

    fn get(self) -> u32 {
        let bits = u32::from(self.0);
        (bits & 0xfff) << (bits >> Self::BITS)
    }
}

impl Minutes {
    /// Starts at a minute, with this total at the last sample.
    fn new(minute: i64, total: u64) -> Self {
        Self { counts: None, running: 0, last: i32::try_from(minute).unwrap_or(i32::MAX), total }
    }

    /// Returns the number of minutes from the last one to `minute`, at most the number that is kept.
    fn passed(&self, minute: i64) -> usize {
        usize::try_from(minute.saturating_sub(self.last.into())).unwrap_or(0).min(MINUTES)
    }

    /// Moves the last minute on. A clock that is set back keeps what was counted, as of the new minute.
    fn move_on(&mut self, minute: i64) {
        let passed = self.passed(minute);
        self.last = i32::try_from(minute).unwrap_or(i32::MAX);
        if passed == 0 {
            return;
        }
        let ended = Count::new(std::mem::take(&mut self.running).into());
        if self.counts.is_none() && ended == Count::default() {
            return;
        }
        let counts = self.counts.get_or_insert_with(|| Box::new([Count(0); MINUTES - 1]));
        let over = passed.min(counts.len());
        counts.rotate_left(over);
        for count in counts.iter_mut().rev().take(over) {
            *count = Count::default();
        }
        if let Some(count) = counts.iter_mut().rev().nth(passed - 1) {
            *count = ended;
        }
        if counts.iter().all(|count| *count == Count::default()) {
            self.counts = None;
        }
    }

    fn add(&mut self, minute: i64, total: u64) {
        self.move_on(minute);
        let new = total.saturating_sub(self.total);
        self.total = total;
        self.running = self.running.saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
    }

    /// Returns the counts up to a minute that is not before the last sample; empty if there are none.
    fn until(&self, minute: i64) -> Vec<u32> {
        if self.counts.is_none() && self.running == 0 {
            return Vec::new();
        }
        let passed = self.passed(minute);
        let ended = self.counts.as_deref().copied().unwrap_or([Count(0); MINUTES - 1]);
        let counts = ended.iter().map(|count| count.get()).chain([self.running]).skip(passed);
        let counts: Vec<u32> = counts.chain(std::iter::repeat_n(0, passed)).collect();
        if counts.iter().all(|count| *count == 0) { Vec::new() } else { counts }
    }
}

/// Returns what counts as calls: connections, or packets of UDP.
fn calls(protocol: Protocol, traffic: &Traffic) -> u64 {
    if protocol == Protocol::Udp { traffic.packets } else { traffic.connections }
}

/// Returns the fingerprint as a number; `None` for a text that is none.
#[must_use]
pub fn number(fingerprint: &str) -> Option<u128> {
    u128::from_str_radix(fingerprint, 16).ok().filter(|_| fingerprint.len() == 32)
}

impl FindingIndex {
    /// Notes a report of a finding, with its fingerprint. Returns the fingerprint of the report before, if it was another.
    pub fn note(
        &mut self,
        finding: &Finding,
        fingerprint: &str,
        now: BootTime,
        minute: i64,
    ) -> Option<String> {
        let (id, fingerprint) = (parse(&finding.id)?, number(fingerprint)?);
        let former = self.entries.get(&id).map(|entry| entry.fingerprint);
        if finding.state == FindingState::Resolved {
            self.forget(id);
        } else {
            self.keep(id, fingerprint, finding, now, minute);
        }
        former.filter(|former| *former != fingerprint).map(|former| format!("{former:032x}"))
    }

    fn keep(&mut self, id: u64, fingerprint: u128, finding: &Finding, now: BootTime, minute: i64) {
        let entry = self.entries.entry(id).or_insert(Entry { fingerprint, calls: Calls::None });
        entry.fingerprint = fingerprint;
        let Some(protocol) = finding.protocol.filter(|_| finding.listener.is_some()) else { return };
        if entry.calls.minutes().is_some() {
            return;
        }
        let was_waiting = matches!(entry.calls, Calls::Waiting);
        if self.counted >= MAX_PORTS {
            entry.calls = Calls::Waiting;
            self.uncounted += usize::from(!was_waiting);
            return;
        }
        self.uncounted -= usize::from(was_waiting);
        self.counted += 1;
        let total = calls(protocol, &finding.traffic);
        // The call that opened the finding belongs to its first minute. Of older calls the minute is unknown.
        let is_young = finding.traffic.since.is_some_and(|since| now.since(since) <= FIRST_MINUTE);
        let before = if is_young { 0 } else { total };
        let mut minutes = Minutes::new(minute, before);
        minutes.add(minute, total);
        entry.calls = Calls::Counted(minutes);
    }

    fn forget(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        match entry.calls {
            Calls::None => {}
            Calls::Waiting => self.uncounted -= 1,
            Calls::Counted(_) => self.counted -= 1,
        }
    }

    /// Counts the calls since the last sample for this minute. Call it every few seconds.
    pub fn sample(&mut self, engine: &Engine, minute: i64) {
        self.sampled = minute;
        self.add_calls(engine, |_| minute);
    }

    /// Counts the calls since the last sample for the minute of that sample, if it is over at `minute`. Call it with the first look
    /// at the clock after a minute, before counters are read.
    pub fn end_minute(&mut self, engine: &Engine, minute: i64) {
        if minute > self.sampled {
            self.sampled = minute;
            // Where a finding was opened since, its minutes began with a later one.
            self.add_calls(engine, |last| last);
        }
    }

    /// Counts the calls since the last sample. `minute` returns the minute to which they belong, from the last one of the port.
    fn add_calls(&mut self, engine: &Engine, minute: impl Fn(i64) -> i64) {
        for (id, entry) in &mut self.entries {
            let Calls::Counted(minutes) = &mut entry.calls else { continue };
            if let Some((protocol, traffic)) = engine.finding_traffic(*id) {
                minutes.add(minute(minutes.last.into()), calls(protocol, &traffic));
            }
        }
    }

    /// Returns the minutes of each port with calls, with its fingerprint; of `wanted` only, if it is given. They end with
    /// `minute`.
    #[must_use]
    pub fn minutes(&self, minute: i64, wanted: Option<&BTreeSet<u128>>) -> Vec<(u128, Vec<u32>)> {
        let of = self.entries.values();
        let of = of.filter(|entry| wanted.is_none_or(|wanted| wanted.contains(&entry.fingerprint)));
        let all = of.filter_map(|entry| {
            let minutes = entry.calls.minutes()?.until(minute);
            (!minutes.is_empty()).then_some((entry.fingerprint, minutes))
        });
        all.collect()
    }

    /// Returns the ids of the findings with one of these fingerprints, in their order.
    #[must_use]
    pub fn ids(&self, fingerprints: &BTreeSet<u128>) -> Vec<u64> {
        let wanted = self.entries.iter().filter(|(_, entry)| fingerprints.contains(&entry.fingerprint));
        wanted.map(|(id, _)| *id).collect()
    }

    /// Returns what the ports with traffic count now, by fingerprint, also of those without minutes: the sum replaces that of
    /// the whole row.
    #[must_use]
    pub fn counts(&self, engine: &Engine) -> Vec<PortCounts> {
        let mut counts: BTreeMap<u128, PortCounts> = BTreeMap::new();
        for (id, entry) in &self.entries {
            let Some((_, traffic)) = engine.finding_traffic(*id) else { continue };
            let Some(last_seen) = traffic.last_seen else { continue };
            let empty = PortCounts { fingerprint: entry.fingerprint, ..PortCounts::default() };
            let sum = counts.entry(entry.fingerprint).or_insert(empty);
            sum.attempts = sum.attempts.saturating_add(traffic.attempts);
            sum.connections = sum.connections.saturating_add(traffic.connections);
            sum.packets = sum.packets.saturating_add(traffic.packets);
            sum.bytes = sum.bytes.saturating_add(traffic.bytes);
            sum.last_seen = sum.last_seen.max(last_seen);
        }
        counts.into_values().collect()
    }

    /// Leaves no room for the minutes of more ports.
    #[cfg(test)]
    pub(super) const fn fill(&mut self) {
        self.counted = MAX_PORTS;
    }

    /// Returns the number of ports whose minutes are or would be counted. Above [`MAX_PORTS`], the others are not counted.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        self.counted + self.uncounted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes() -> Minutes {
        Minutes::new(100, 0)
    }

    #[test]
    fn a_count_is_exact_when_small_and_near_when_large() {
        for count in [0, 1, 4095] {
            assert_eq!(u64::from(Count::new(count).get()), count);
        }
        for count in [4096_u64, 65_537, 1_000_003, 134_000_000] {
            let kept = u64::from(Count::new(count).get());
            assert!(kept <= count && (count - kept) * 2000 <= count, "{count}: {kept}");
        }
        assert_eq!(Count::new(u64::MAX).get(), Count::MAX);
    }

    #[test]
    fn a_port_without_calls_keeps_no_minutes() {
        let mut minutes = minutes();
        minutes.add(101, 0);
        assert!(minutes.counts.is_none());
        minutes.add(102, 1);
        minutes.add(103, 1);
        assert!(minutes.counts.is_some());
        minutes.add(103 + MINUTES as i64, 1);
        assert!(minutes.counts.is_none(), "an hour is over");
        assert!(size_of::<Entry>() <= 48);
    }

    #[test]
    fn calls_count_for_the_minute_of_their_sample() {
        let mut minutes = minutes();
        minutes.add(100, 5);
        minutes.add(100, 7);
        minutes.add(102, 10);
        assert_eq!(minutes.until(102)[MINUTES - 3..], [7, 0, 3]);
        assert_eq!(minutes.until(103)[MINUTES - 3..], [0, 3, 0]);
        assert_eq!(minutes.until(102).len(), MINUTES);
    }

    #[test]
    fn many_samples_of_one_minute_are_no_less_exact_than_one() {
        let mut minutes = minutes();
        for total in (0..=1_200_000).step_by(100_001) {
            minutes.add(100, total);
        }
        assert_eq!(minutes.until(100)[MINUTES - 1..], [1_100_011]);
        minutes.add(101, 1_100_012);
        let kept = Count::new(1_100_011).get();
        assert_eq!(minutes.until(101)[MINUTES - 2..], [kept, 1]);
    }

    #[test]
    fn a_minute_of_an_hour_ago_is_over() {
        let mut minutes = minutes();
        minutes.add(100, 5);
        minutes.add(100 + MINUTES as i64 - 1, 6);
        assert_eq!(minutes.until(100 + MINUTES as i64 - 1)[0], 5);
        minutes.add(100 + MINUTES as i64, 6);
        assert_eq!(minutes.until(100 + MINUTES as i64).iter().sum::<u32>(), 1);
    }

    #[test]
    fn an_hour_without_calls_leaves_nothing() {
        let mut minutes = minutes();
        minutes.add(100, 5);
        assert_eq!(minutes.until(100 + MINUTES as i64), Vec::<u32>::new());
        minutes.add(100 + 10 * MINUTES as i64, 5);
        assert_eq!(minutes.until(100 + 10 * MINUTES as i64), Vec::<u32>::new());
    }

    #[test]
    fn a_clock_that_is_set_back_and_a_total_that_falls_lose_nothing_and_invent_nothing() {
        let mut minutes = minutes();
        minutes.add(100, 5);
        minutes.add(90, 5);
        minutes.add(91, 2);
        minutes.add(91, 3);
        assert_eq!(minutes.until(91)[MINUTES - 2..], [5, 1]);
    }

    #[test]
    fn only_a_whole_fingerprint_is_a_number() {
        assert_eq!(number(&"0".repeat(31)), None);
        assert_eq!(number(&"g".repeat(32)), None);
        assert_eq!(number(&format!("{:032x}", 77)), Some(77));
    }
}
