//! Token bucket that limits the rate of writes: a burst at once, then one write per interval.

use std::time::Duration;

use portolan_engine::model::identity::BootTime;

/// A token bucket. Tokens are returned one by one, at a fixed interval.
#[derive(Debug)]
pub struct TokenBucket {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full.
    full_at: BootTime,
}

impl TokenBucket {
    /// Creates a full bucket of `burst` tokens, at least one.
    #[must_use]
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst: burst.max(1), full_at: BootTime(0) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The time of the next token, if there is none now.
    pub fn take(&mut self, now: BootTime) -> Result<(), BootTime> {
        let first_at = self.full_at.max(now);
        let most = self.interval.saturating_mul(self.burst.saturating_sub(1));
        let missing = first_at.since(now);
        if missing > most {
            return Err(now.after(missing.saturating_sub(most)));
        }
        self.full_at = first_at.after(self.interval);
        Ok(())
    }

    /// Leaves at most one token, so that no burst of waiting writes follows an outage.
    pub fn drain(&mut self, now: BootTime) {
        self.full_at =
            self.full_at.max(now.after(self.interval.saturating_mul(self.burst.saturating_sub(1))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootTime {
        BootTime(ms * 1_000_000)
    }

    fn taken(bucket: &mut TokenBucket, now: BootTime) -> usize {
        (0..100).take_while(|_| bucket.take(now).is_ok()).count()
    }

    #[test]
    fn some_at_once_then_one_in_a_while() {
        let mut bucket = TokenBucket::new(Duration::from_secs(2), 5);
        assert_eq!(taken(&mut bucket, at(100_000)), 5);
        assert_eq!(bucket.take(at(101_000)), Err(at(102_000)));
        assert_eq!(taken(&mut bucket, at(102_000)), 1);
        assert_eq!(taken(&mut bucket, at(108_000)), 3);
        assert_eq!(taken(&mut bucket, at(900_000)), 5);
    }

    #[test]
    fn after_an_outage_there_is_one() {
        let mut bucket = TokenBucket::new(Duration::from_secs(2), 5);
        bucket.drain(at(100_000));
        assert_eq!(taken(&mut bucket, at(100_000)), 1);
        assert_eq!(taken(&mut bucket, at(102_000)), 1);
    }
}
