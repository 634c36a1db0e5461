//! Schedules of an open loop, and delays measured against them.
//!
//! Invariant: a delay runs from the moment at which a message was due, not from the moment at which it could be sent. What a broker
//! holds up also delays the messages behind it, and these count; otherwise the worst moments would be the least measured
//! ("coordinated omission").
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The longest delay that is told apart: an hour, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// When the messages of one publisher are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nanoseconds between two messages.
    interval: f64,
    /// Nanoseconds from the start to the first.
    offset: f64,
}

#[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "nanoseconds of a run are far below 2^52")]
impl Pace {
    /// The `number`th of `count` publishers that share `rate` messages a second evenly.
    pub(super) fn new(rate: f64, number: usize, count: usize) -> Self {
        let between = 1e9 / rate;
        Self { interval: between * count as f64, offset: between * number as f64 }
    }

    /// Nanoseconds from the start to a message.
    pub(super) fn due(&self, sequence: u64) -> u64 {
        (self.offset + self.interval * sequence as f64) as u64
    }

    /// How many messages are due after this many nanoseconds.
    pub(super) fn allowed(&self, elapsed: u64) -> u64 {
        // The cast saturates at 0; rounding may be off by one, and must agree with `due`.
        let mut count = ((elapsed as f64 - self.offset) / self.interval) as u64;
        while self.due(count) <= elapsed {
            count += 1;
        }
        while count > 0 && self.due(count - 1) > elapsed {
            count -= 1;
        }
        count
    }
}

/// Delays, in nanoseconds.
#[derive(Clone)]
pub(super) struct Delays(Histogram<u64>);

impl Delays {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds are allowed"))
    }

    /// What was due at one time and came at another, both in nanoseconds from the start.
    pub(super) fn record(&mut self, due: u64, came: u64) {
        self.0.saturating_record(came.saturating_sub(due));
    }

    pub(super) fn record_time(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("equal bounds");
    }

    /// `None` if there are none.
    pub(super) fn summary(&self) -> Option<Summary> {
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Summary {
            count: self.0.len(),
            min: micros(self.0.min()),
            mean: self.0.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: micros(self.0.max()),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "an hour of nanoseconds is below 2^52")]
fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// Percentiles of delays, in microseconds, with three significant digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) p9999: f64,
    pub(super) max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_share_a_rate_evenly() {
        let paces: Vec<Pace> = (0..4).map(|number| Pace::new(1000.0, number, 4)).collect();
        let due: Vec<u64> = (0..3).flat_map(|sequence| paces.iter().map(move |pace| pace.due(sequence))).collect();
        assert_eq!(due, (0..12).map(|count| count * 1_000_000).collect::<Vec<u64>>());
        for elapsed in [0, 999_999, 1_000_000, 3_999_999, 4_000_000, 1_000_000_000] {
            let allowed: u64 = paces.iter().map(|pace| pace.allowed(elapsed)).sum();
            assert_eq!(allowed, elapsed / 1_000_000 + 1, "{elapsed}");
        }
    }

    #[test]
    fn nothing_is_sent_before_it_is_due() {
        for rate in [3.0, 7.0, 1234.5, 999_999.0] {
            let pace = Pace::new(rate, 1, 3);
            for sequence in 0..5000 {
                let due = pace.due(sequence);
                assert_eq!(pace.allowed(due), sequence + 1, "rate {rate}, message {sequence}");
                assert!(due == 0 || pace.allowed(due - 1) <= sequence, "rate {rate}, message {sequence}");
            }
        }
    }

    /// A broker that answers within 50 µs and stands still for one second of ten. A loop that waits for each answer sees one slow
    /// message in 9000, and its percentiles are fine up to the last; those who were due meanwhile waited half a second on average.
    #[test]
    fn a_stall_counts_for_everybody_who_was_due_in_it() {
        let (still, moves) = (2_000_000_000_u64, 3_000_000_000_u64);
        let answer = |sent: u64| if (still..moves).contains(&sent) { moves + 50_000 } else { sent + 50_000 };
        let pace = Pace::new(1000.0, 0, 1);
        let (mut corrected, mut naive) = (Delays::new(), Delays::new());
        let mut free = 0;
        for sequence in 0..10_000 {
            let due = pace.due(sequence);
            let sent = due.max(free);
            let came = answer(sent);
            free = came;
            corrected.record(due, came);
            naive.record(sent, came);
        }
        let (corrected, naive) = (corrected.summary().expect("some"), naive.summary().expect("some"));
        assert_eq!((corrected.count, naive.count), (10_000, 10_000));
        assert!(naive.p999 < 51.0, "{naive:?}");
        assert!(corrected.p50 < 51.0, "{corrected:?}");
        // As by sorting: the histogram itself adds no more than its three digits lose.
        let exact = percentile(&pace, &answer, 99);
        assert!((corrected.p99 / exact - 1.0).abs() < 0.01, "{exact} {corrected:?}");
        assert!(corrected.p99 > 850_000.0 && corrected.max > 990_000.0, "{corrected:?}");
    }

    /// The exact percentile of the same delays, by sorting.
    fn percentile(pace: &Pace, answer: &dyn Fn(u64) -> u64, percent: usize) -> f64 {
        let mut free = 0;
        let mut delays: Vec<u64> = (0..10_000)
            .map(|sequence| {
                let due = pace.due(sequence);
                free = answer(due.max(free));
                free - due
            })
            .collect();
        delays.sort_unstable();
        micros(delays[percent * 100])
    }
}
