//! What a process costs, where the system says so (`/proc` of Linux).
use std::fs;
use std::time::Duration;

/// Processor time and memory of a process, all threads together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Of the threads that live; of all of them, but in hundredths of a second, where the system counts no better.
    pub(super) cpu: Duration,
    /// Resident bytes.
    pub(super) memory: u64,
}

impl Usage {
    /// `None` where the system does not say.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
        let cpu = threads(pid).filter(|time| !time.is_zero()).or_else(|| cpu(&stat))?;
        Some(Self { cpu, memory: kilobytes << 10 })
    }

    /// Of this process.
    pub(super) fn own() -> Option<Self> {
        Self::of(std::process::id())
    }
}

/// Processor time of the threads, in nanoseconds, which not every system counts.
fn threads(pid: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // It may have ended just now.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        sum += Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?);
    }
    Some(sum)
}

/// The name, in parentheses, may itself hold anything; user and system time are the 12th and 13th field behind it.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 1 2 3";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("nothing"), None);
    }
}
