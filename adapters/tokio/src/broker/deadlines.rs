//! Deadlines of sockets that all wait equally long, in a queue.
//!
//! Invariant: entries are in the order of their deadlines, because each is `delay` after a `now` that never goes back.
use mqtt_session::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Names a socket for ever, where its key alone is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) key: u32,
    pub(super) serial: u32,
}

/// Sockets by deadline. Those that are done with waiting stay in the queue until they come to its front.
#[derive(Debug)]
pub(super) struct Deadlines {
    delay: Duration,
    queue: VecDeque<(Instant, Token)>,
}

impl Deadlines {
    /// An empty queue of deadlines `delay` ahead.
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, queue: VecDeque::new() }
    }

    /// Adds a socket. `waits` tells whether a socket still waits: those at the front that don't are forgotten, which
    /// keeps the queue as long as the sockets that wait, while most of them are served in their order.
    pub(super) fn push(&mut self, now: Instant, token: Token, waits: impl Fn(Token) -> bool) {
        while self.queue.front().is_some_and(|(_, token)| !waits(*token)) {
            self.queue.pop_front();
        }
        self.queue.push_back((now + self.delay, token));
    }

    /// The next deadline, perhaps of a socket that no longer waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Takes one socket whose deadline has come, perhaps one that no longer waits.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Token> {
        self.queue.pop_front_if(|(at, _)| *at <= now).map(|(_, token)| token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_the_served_are_forgotten() {
        let mut deadlines = Deadlines::new(Duration::from_secs(10));
        let token = |serial| Token { key: 0, serial };
        for serial in 0..5 {
            deadlines.push(Instant::from_secs(u64::from(serial)), token(serial), |token| token.serial >= 3);
        }
        assert_eq!(deadlines.next(), Some(Instant::from_secs(13)), "0 to 2 had been served");
        assert_eq!(deadlines.expired(Instant::from_secs(12)), None);
        assert_eq!(deadlines.expired(Instant::from_secs(13)), Some(token(3)));
        assert_eq!(deadlines.expired(Instant::from_secs(14)), Some(token(4)));
        assert_eq!(deadlines.next(), None);
    }
}
