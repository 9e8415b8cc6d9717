//! How many writes may go out: some at once, then one in a while, whatever happens on the node.

use std::time::Duration;

use portolan_engine::model::identity::BootTime;

/// Tokens that come back one by one.
#[derive(Debug)]
pub struct Bucket {
    every: Duration,
    burst: u32,
    /// When it will be full.
    full_at: BootTime,
}

impl Bucket {
    /// Full; takes `burst` at once.
    #[must_use]
    pub fn new(every: Duration, burst: u32) -> Self {
        Self { every, burst: burst.max(1), full_at: BootTime(0) }
    }

    /// Takes a token, or says when there will be one.
    ///
    /// # Errors
    /// The time of the next token.
    pub fn take(&mut self, now: BootTime) -> Result<(), BootTime> {
        let first_at = self.full_at.max(now);
        let most = self.every.saturating_mul(self.burst.saturating_sub(1));
        let missing = first_at.since(now);
        if missing > most {
            return Err(now.after(missing.saturating_sub(most)));
        }
        self.full_at = first_at.after(self.every);
        Ok(())
    }

    /// Leaves one token at most: after an outage nobody may come with all that waits.
    pub fn drain(&mut self, now: BootTime) {
        self.full_at = self.full_at.max(now.after(self.every.saturating_mul(self.burst.saturating_sub(1))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootTime {
        BootTime(ms * 1_000_000)
    }

    fn taken(bucket: &mut Bucket, now: BootTime) -> usize {
        (0..100).take_while(|_| bucket.take(now).is_ok()).count()
    }

    #[test]
    fn some_at_once_then_one_in_a_while() {
        let mut bucket = Bucket::new(Duration::from_secs(2), 5);
        assert_eq!(taken(&mut bucket, at(100_000)), 5);
        assert_eq!(bucket.take(at(101_000)), Err(at(102_000)));
        assert_eq!(taken(&mut bucket, at(102_000)), 1);
        assert_eq!(taken(&mut bucket, at(108_000)), 3);
        assert_eq!(taken(&mut bucket, at(900_000)), 5);
    }

    #[test]
    fn after_an_outage_there_is_one() {
        let mut bucket = Bucket::new(Duration::from_secs(2), 5);
        bucket.drain(at(100_000));
        assert_eq!(taken(&mut bucket, at(100_000)), 1);
        assert_eq!(taken(&mut bucket, at(102_000)), 1);
    }
}
