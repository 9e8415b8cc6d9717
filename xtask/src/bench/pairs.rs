//! Compares a rate with and without the agent, in pairs of runs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::agent::Agent;
use super::median::median;

/// Pairs of runs.
pub const PAIRS: usize = 9;
/// Time after the agent is ready until its first findings are open and its interfaces are attached.
const SETTLE: Duration = Duration::from_millis(1500);

/// A rate with the agent beside one without it.
pub struct Compared {
    /// Median of the ratios within the pairs.
    pub ratio: f64,
    /// Median of the rates without the agent.
    pub without: f64,
}

/// Takes pairs of rates by `rate`, one of each pair with an agent.
///
/// # Errors
/// If the agent does not start, or a rate cannot be taken.
pub fn compare(bench: &Bench, manifest: &Path, rate: impl Fn() -> Result<f64>) -> Result<Compared> {
    let (mut ratios, mut without) = (Vec::new(), Vec::new());
    let with_agent = || -> Result<f64> {
        let _agent = Agent::start(&bench.agent, manifest, &["--grace", "100ms"])?;
        // Until the findings are open, so that connections are recorded, and each interface has its program.
        std::thread::sleep(SETTLE);
        rate()
    };
    for pair in 0..PAIRS {
        // The order alternates, so that neither side always comes last.
        let (with, alone) = if pair % 2 == 0 {
            let with = with_agent()?;
            (with, rate()?)
        } else {
            let alone = rate()?;
            (with_agent()?, alone)
        };
        ratios.push(with / alone);
        without.push(alone);
    }
    Ok(Compared { ratio: median(&ratios), without: median(&without) })
}
