//! Judges numbers that were sampled at quiet moments: which must always be the same, and how much memory may grow. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::bench::median::median;

/// A number that may grow a little may grow by this share, or by its own margin. Both must be exceeded.
const GROWTH: f64 = 0.10;
const MEMORY_MARGIN: u32 = 3 * 1024 * 1024;
/// Sockets that were closed are remembered for 30 s.
const SOCKETS_MARGIN: u32 = 1000;
/// A few counted ports that the agent does not know are only removed once more are counted than it knows.
const PORT_STATS_MARGIN: u32 = 20;
/// Share of the run at its beginning in which growth is not judged, and its maximum: lists of what ended recently fill up.
const WARM_UP: f64 = 0.2;
const LONGEST_WARM_UP: Duration = Duration::from_secs(20 * 60);
/// Minimum number of samples after the warm-up.
const SAMPLES: usize = 8;

/// How a number is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The same at each quiet moment.
    Exact,
    /// May grow a little from the first quarter after the warm-up to the last quarter.
    Slow { margin: u32 },
    /// Only shown.
    Shown,
}

/// Numbers of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Time since the start of the soak.
    pub at: Duration,
    pub numbers: BTreeMap<String, u64>,
    pub others: Others,
}

impl Sample {
    /// Returns true if other programs have the same at both moments, so that exact numbers can be compared.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.others == other.others
    }
}

/// What other programs have on this machine. While it differs, the agent's numbers differ too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Inodes of network namespaces.
    pub namespaces: BTreeSet<u64>,
    /// Number of listeners.
    pub listeners: u64,
}

/// Returns how this number is judged.
pub fn rule(name: &str) -> Rule {
    match name {
        "resident memory" | "anonymous memory" => Rule::Slow { margin: MEMORY_MARGIN },
        "table map:port-stats" => Rule::Slow { margin: PORT_STATS_MARGIN },
        "table sockets" => Rule::Slow { margin: SOCKETS_MARGIN },
        // These tables keep what ended, up to their limit.
        "table connections" | "table peers" | "table map:peers" => Rule::Shown,
        _ if name.starts_with("lost ") => Rule::Shown,
        _ => Rule::Exact,
    }
}

/// Returns the numbers that must be the same as at the `first` quiet moment and are not. Only threads count if other
/// programs have other namespaces or listeners.
pub fn changed(first: &Sample, now: &Sample) -> Vec<String> {
    let is_alone = first.is_comparable(now);
    let names: BTreeSet<&String> = first.numbers.keys().chain(now.numbers.keys()).collect();
    let shown = |number: Option<&u64>| number.map_or_else(|| "none".to_owned(), u64::to_string);
    let exact =
        names.into_iter().filter(|name| rule(name) == Rule::Exact && (is_alone || *name == "threads"));
    let pairs = exact.map(|name| (name, first.numbers.get(name), now.numbers.get(name)));
    pairs
        .filter(|(_, first, now)| first != now)
        .map(|(name, first, now)| format!("{name}: {}, at first {}", shown(now), shown(first)))
        .collect()
}

/// The quiet moments after the first, by whether their exact numbers could be compared with the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparisons {
    pub done: usize,
    pub skipped: usize,
}

impl Comparisons {
    /// Counts the moments of a soak, from its quiet samples.
    pub fn of(quiet: &[Sample]) -> Self {
        let Some((first, later)) = quiet.split_first() else { return Self::default() };
        let done = later.iter().filter(|sample| first.is_comparable(sample)).count();
        Self { done, skipped: later.len() - done }
    }

    /// Returns the fault of a soak that compared fewer than half of its moments. `None`: it compared enough.
    pub fn fault(self) -> Option<String> {
        let Self { done, skipped } = self;
        (done < skipped).then(|| {
            format!(
                "only {done} of {} quiet moments could be compared with the first, because other programs had other \
                 namespaces or listeners: run the soak where nothing else makes any",
                done + skipped
            )
        })
    }
}

/// Growth of one number.
#[derive(Clone, Debug, PartialEq)]
pub enum Growth {
    /// Too few samples after the warm-up.
    Unknown,
    Steady,
    /// Medians of the first quarter and of the last.
    Grown {
        from: f64,
        to: f64,
    },
}

/// Compares the first quarter after the warm-up with the last quarter. A number that is judged otherwise is steady.
pub fn growth(samples: &[Sample], name: &str) -> Growth {
    let Rule::Slow { margin } = rule(name) else { return Growth::Steady };
    let length = samples.last().map_or(Duration::ZERO, |last| last.at);
    let warm = length.mul_f64(WARM_UP).min(LONGEST_WARM_UP);
    let judged: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.at >= warm)
        .filter_map(|sample| sample.numbers.get(name))
        .map(|number| *number as f64)
        .collect();
    if judged.len() < SAMPLES {
        return Growth::Unknown;
    }
    let quarter = judged.len() / 4;
    let (first, last) = (judged.iter().take(quarter), judged.iter().rev().take(quarter));
    let from = median(&first.copied().collect::<Vec<_>>());
    let to = median(&last.copied().collect::<Vec<_>>());
    let has_grown = to - from > f64::from(margin) && to > from * (1.0 + GROWTH);
    if has_grown { Growth::Grown { from, to } } else { Growth::Steady }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: u64 = 1 << 20;

    fn sample(minute: u64, numbers: &[(&str, u64)]) -> Sample {
        let numbers = numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
        Sample { at: Duration::from_secs(60 * minute), numbers, others: Others::default() }
    }

    fn memory(megabytes: impl IntoIterator<Item = u64>) -> Growth {
        let samples: Vec<Sample> = megabytes
            .into_iter()
            .zip(1..)
            .map(|(megabytes, minute)| sample(minute, &[("resident memory", megabytes * MEGABYTE)]))
            .collect();
        growth(&samples, "resident memory")
    }

    #[test]
    fn one_descriptor_more_is_drift() {
        let first = sample(1, &[("descriptors", 90), ("table peers", 10), ("resident memory", 1)]);
        assert_eq!(changed(&first, &first), Vec::<String>::new());
        let now = sample(2, &[("descriptors", 91), ("table peers", 99), ("resident memory", 2)]);
        assert_eq!(changed(&first, &now), ["descriptors: 91, at first 90"]);
        let kind = sample(2, &[("descriptors", 90), ("descriptors of timers", 1)]);
        assert_eq!(changed(&first, &kind), ["descriptors of timers: 1, at first none"]);
        let missing = sample(2, &[]);
        assert_eq!(changed(&first, &missing), ["descriptors: none, at first 90"]);
    }

    #[test]
    fn what_others_do_leaves_exact_numbers_unjudged() {
        let first = sample(1, &[("descriptors", 90), ("threads", 4)]);
        let mut now = sample(2, &[("descriptors", 94), ("threads", 5)]);
        now.others.namespaces.insert(4_026_531_999);
        assert_eq!(changed(&first, &now), ["threads: 5, at first 4"]);
        now.others = Others { listeners: 1, ..Others::default() };
        assert_eq!(changed(&first, &now), ["threads: 5, at first 4"]);
    }

    #[test]
    fn a_soak_that_compared_fewer_than_half_of_its_moments_is_at_fault() {
        let quiet = |others: &[u64]| -> Vec<Sample> {
            let sample = |listeners: &u64| Sample {
                others: Others { listeners: *listeners, ..Others::default() },
                ..Sample::default()
            };
            others.iter().map(sample).collect()
        };
        for enough in [&[][..], &[3], &[3, 3, 3], &[3, 4, 3]] {
            assert_eq!(Comparisons::of(&quiet(enough)).fault(), None, "{enough:?}");
        }
        let few = Comparisons::of(&quiet(&[3, 4, 3, 5]));
        assert_eq!(few, Comparisons { done: 1, skipped: 2 });
        let fault = few.fault().expect("a fault");
        assert!(fault.starts_with("only 1 of 3 quiet moments could be compared"), "{fault}");
    }

    #[test]
    fn memory_that_grows_all_the_time_is_drift() {
        assert_eq!(memory(40..100), Growth::Grown { from: 56.0 * 1048576.0, to: 93.0 * 1048576.0 });
    }

    #[test]
    fn memory_that_grows_little_in_bytes_or_in_share_is_none() {
        assert_eq!(memory((0..60).map(|n| 10 + n / 20)), Growth::Steady);
        assert_eq!(memory((0..60).map(|n| 200 + n / 5)), Growth::Steady);
    }

    #[test]
    fn the_warm_up_does_not_count() {
        assert_eq!(memory((0..60).map(|n| if n < 11 { 20 } else { 60 })), Growth::Steady);
        assert_eq!(memory((0..200).map(|n| if n < 19 { 20 } else { 60 })), Growth::Steady);
        // Not longer than 20 minutes.
        assert!(matches!(memory((0..200).map(|n| if n < 70 { 20 } else { 60 })), Growth::Grown { .. }));
    }

    #[test]
    fn one_peak_is_no_growth_and_few_samples_are_no_verdict() {
        assert_eq!(memory((0..60).map(|n| if n == 55 { 900 } else { 40 })), Growth::Steady);
        assert_eq!(memory([1, 2, 3, 400, 500, 600]), Growth::Unknown);
    }
}
