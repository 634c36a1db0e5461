//! How much memory the process holds, for `$SYS/{id}/memory`.
//!
//! Invariant: read at most once per `$SYS` interval; where the system does not tell, nothing is published.
use mqtt_session::Instant;
use std::time::Duration;

/// When the memory is to be read again.
#[derive(Debug)]
pub(super) struct Meter {
    interval: Duration,
    next: Instant,
}

impl Meter {
    /// A meter for one `$SYS` interval; zero never reads.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, next: Instant::ZERO }
    }

    /// Bytes in memory, if it is time to tell.
    pub(super) fn read(&mut self, now: Instant) -> Option<u64> {
        if self.interval.is_zero() || now < self.next {
            return None;
        }
        // A little less than the interval, so that each round has a fresh figure.
        self.next = now + self.interval * 9 / 10;
        resident(&std::fs::read_to_string("/proc/self/status").ok()?)
    }
}

/// `VmRSS` of Linux's process status, in bytes.
fn resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_process_is_understood() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    5120 kB\nThreads:\t1\n"), Some(5120 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn it_is_read_once_per_interval() {
        let mut meter = Meter::new(Duration::from_secs(10));
        let first = meter.read(Instant::from_secs(1));
        assert_eq!(first.is_some(), cfg!(target_os = "linux"));
        assert_eq!(meter.read(Instant::from_secs(2)), None);
        assert_eq!(Meter::new(Duration::ZERO).read(Instant::from_secs(1)), None);
    }
}
