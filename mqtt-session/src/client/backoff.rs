//! When to try again, and where (no section: the standard leaves reconnecting to the client).
//!
//! Invariants: the delays depend on the seed and the outcomes alone; after a failure every other server is tried before any delay.
use crate::{Instant, Rng};
use core::time::Duration;

/// Delays between rounds of attempts: `min · factor^n`, at most `max`, less a random part so that clients do not return in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay. Default: 1 s.
    pub min: Duration,
    /// The longest delay. Default: 60 s.
    pub max: Duration,
    /// What each delay is multiplied with for the next; 0 counts as 1. Default: 2.
    pub factor: u32,
    /// Up to how many percent of a delay are taken off at random, at most 100. Default: 50.
    pub jitter_percent: u8,
    /// After how many failed rounds to give up; `None` never does. Default: `None`.
    pub max_rounds: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_mins(1),
            factor: 2,
            jitter_percent: 50,
            max_rounds: None,
        }
    }
}

/// Where the attempts stand.
#[derive(Debug)]
pub(super) struct Retry {
    servers: usize,
    /// The server of the attempt in progress, or of the next one.
    server: usize,
    /// Servers that failed since the last success or delay.
    failed: usize,
    /// Rounds that failed since the last stable connection.
    rounds: u32,
    /// The delay before the round in progress.
    last_delay: Duration,
    connected_at: Option<Instant>,
}

impl Retry {
    pub(super) fn new(servers: usize) -> Self {
        Self { servers, server: 0, failed: 0, rounds: 0, last_delay: Duration::ZERO, connected_at: None }
    }

    pub(super) fn server(&self) -> usize {
        self.server
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.failed = 0;
        self.connected_at = Some(now);
    }

    /// The caller wants to connect now: what failed before counts no more.
    pub(super) fn reset(&mut self) {
        *self = Self { server: self.server, ..Self::new(self.servers) };
    }

    /// The delay until the next attempt after a failure or loss; `None` to give up.
    pub(super) fn failed(&mut self, now: Instant, backoff: Option<&Backoff>, rng: &mut Rng) -> Option<Duration> {
        if let Some(since) = self.connected_at.take() {
            // A connection that lived no longer than the delay before it is no success: a server that accepts and drops must not be
            // hammered. The session lives on this server, so it is tried first.
            if now.saturating_since(since) >= self.last_delay {
                self.rounds = 0;
            }
            self.failed = 0;
        } else {
            self.failed += 1;
            self.server = (self.server + 1) % self.servers;
            if self.failed < self.servers {
                return backoff.map(|_| Duration::ZERO);
            }
            self.failed = 0;
        }
        let backoff = backoff?;
        if backoff.max_rounds.is_some_and(|max| self.rounds >= max) {
            return None;
        }
        let full = backoff.delay(self.rounds);
        self.rounds = self.rounds.saturating_add(1);
        self.last_delay = full;
        let span =
            u64::try_from(full.as_nanos()).unwrap_or(u64::MAX) / 100 * u64::from(backoff.jitter_percent.min(100));
        Some(full.saturating_sub(Duration::from_nanos(rng.below(span))))
    }
}

impl Backoff {
    /// The delay after `rounds` failed rounds, before jitter.
    fn delay(&self, rounds: u32) -> Duration {
        let mut delay = self.min;
        for _ in 0..rounds {
            if delay >= self.max {
                break;
            }
            delay = delay.saturating_mul(self.factor.max(1));
            if self.factor <= 1 {
                break;
            }
        }
        delay.min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Backoff = Backoff {
        min: Duration::from_secs(1),
        max: Duration::from_secs(10),
        factor: 2,
        jitter_percent: 0,
        max_rounds: None,
    };

    #[test]
    fn delays_double_up_to_the_limit() {
        let delays: [u64; 6] = core::array::from_fn(|n| PLAIN.delay(u32::try_from(n).unwrap()).as_secs());
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        assert_eq!(PLAIN.delay(u32::MAX), PLAIN.max);
    }

    #[test]
    fn jitter_shortens_within_its_bounds_and_follows_the_seed() {
        let backoff = Backoff { jitter_percent: 50, ..PLAIN };
        let run = |seed| {
            let (mut retry, mut rng) = (Retry::new(1), Rng::new([seed; 32]));
            (0..5)
                .map(|_| retry.failed(Instant::ZERO, Some(&backoff), &mut rng).unwrap())
                .collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        for (delay, full) in run(1).iter().zip([1, 2, 4, 8, 10]) {
            assert!(*delay <= Duration::from_secs(full) && *delay > Duration::from_secs(full) / 2);
        }
    }

    #[test]
    fn every_server_is_tried_before_a_delay() {
        let (mut retry, mut rng) = (Retry::new(3), Rng::new([1; 32]));
        let mut seen = alloc::vec![];
        for _ in 0..4 {
            seen.push((retry.server(), retry.failed(Instant::ZERO, Some(&PLAIN), &mut rng).unwrap().as_secs()));
        }
        assert_eq!(seen, [(0, 0), (1, 0), (2, 1), (0, 0)]);
    }

    #[test]
    fn a_short_connection_does_not_reset_the_delay() {
        let (mut retry, mut rng) = (Retry::new(1), Rng::new([1; 32]));
        let mut fail =
            |retry: &mut Retry, at| retry.failed(Instant::from_secs(at), Some(&PLAIN), &mut rng).unwrap().as_secs();
        assert_eq!(fail(&mut retry, 0), 1);
        retry.connected(Instant::from_secs(1));
        assert_eq!(fail(&mut retry, 1), 2, "it lived for less than a second");
        retry.connected(Instant::from_secs(10));
        assert_eq!(fail(&mut retry, 20), 1, "it was stable");
    }

    #[test]
    fn gives_up_after_the_last_round() {
        let backoff = Backoff { max_rounds: Some(1), ..PLAIN };
        let (mut retry, mut rng) = (Retry::new(1), Rng::new([1; 32]));
        assert!(retry.failed(Instant::ZERO, Some(&backoff), &mut rng).is_some());
        assert!(retry.failed(Instant::ZERO, Some(&backoff), &mut rng).is_none());
        assert!(Retry::new(2).failed(Instant::ZERO, None, &mut rng).is_none());
    }
}
