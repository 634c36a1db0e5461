//! Keep Alive and PINGRESP timeout (MQTT 5.0 section 3.1.2.10, 3.12 and 3.13).
//!
//! Invariants: with Keep Alive on, no interval passes without a packet from us [MQTT-3.1.2-20]; a silent Server is noticed even while we send;
//! a Server that we do not read from is never called silent.
use crate::Instant;
use core::time::Duration;

#[derive(Debug)]
pub(super) struct KeepAlive {
    /// Zero is off.
    interval: Duration,
    timeout: Duration,
    last_sent: Instant,
    last_received: Instant,
    /// An unanswered PINGREQ, and when it was sent.
    ping: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    Timeout,
}

impl KeepAlive {
    pub(super) fn new(seconds: u16, timeout: Duration, now: Instant) -> Self {
        let interval = Duration::from_secs(seconds.into());
        Self { interval, timeout, last_sent: now, last_received: now, ping: None }
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    pub(super) fn ping_sent(&mut self, now: Instant) {
        self.ping = Some(now);
        self.last_sent = now;
    }

    pub(super) fn answered(&mut self) {
        self.ping = None;
    }

    /// The next deadline. `reading`: whether the socket is being read, so that an answer could arrive.
    pub(super) fn deadline(&self, reading: bool) -> Option<(Instant, Due)> {
        if self.interval.is_zero() {
            return None;
        }
        let Some(ping) = self.ping else {
            // Also after an interval without a packet from the Server: publishing into a dead connection must not go on for ever.
            let quiet_since = if reading { self.last_sent.min(self.last_received) } else { self.last_sent };
            return Some((quiet_since + self.interval, Due::Ping));
        };
        let silent = reading.then(|| (ping.max(self.last_received) + self.timeout, Due::Timeout));
        let quiet = (self.last_sent + self.interval, Due::Ping);
        Some(silent.filter(|silent| silent.0 <= quiet.0).unwrap_or(quiet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> Instant = Instant::from_secs;

    #[test]
    fn pings_when_either_side_is_quiet() {
        let mut keep = KeepAlive::new(60, Duration::from_secs(10), T(0));
        keep.received(T(50));
        assert_eq!(keep.deadline(true), Some((T(60), Due::Ping)));
        keep.sent(T(55));
        assert_eq!(keep.deadline(true), Some((T(110), Due::Ping)));
        keep.ping_sent(T(110));
        assert_eq!(keep.deadline(true), Some((T(120), Due::Timeout)));
        keep.received(T(115)); // a long packet is arriving: the answer stands behind it
        assert_eq!(keep.deadline(true), Some((T(125), Due::Timeout)));
        keep.answered();
        assert_eq!(keep.deadline(true), Some((T(170), Due::Ping)));
    }

    #[test]
    fn a_paused_reader_never_times_out() {
        let mut keep = KeepAlive::new(60, Duration::from_secs(10), T(0));
        keep.ping_sent(T(60));
        assert_eq!(keep.deadline(false), Some((T(120), Due::Ping)), "the Server must hear from us all the same");
        assert_eq!(KeepAlive::new(0, Duration::ZERO, T(0)).deadline(true), None);
    }
}
