//! A line of progress on a terminal.
//!
//! Invariant: nothing is written unless standard error is a terminal.
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Time between two looks at it.
const EVERY: Duration = Duration::from_millis(250);
/// Calls between two looks at the clock.
const STRIDE: u32 = 64;

/// What is going on.
pub(super) struct Progress {
    /// `None` where nobody looks.
    shown: Option<Instant>,
    calls: u32,
    label: String,
    used: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let shown = std::io::stderr().is_terminal().then(Instant::now);
        Self { shown, calls: 0, label: String::new(), used: false }
    }

    /// Another part of the work begins.
    pub(super) fn begin(&mut self, label: &str) {
        label.clone_into(&mut self.label);
    }

    /// Shows how far it is, now and then.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        self.calls += 1;
        if self.calls.is_multiple_of(STRIDE) {
            self.show_now(text);
        }
    }

    /// The same for those who call it rarely.
    pub(super) fn show_now(&mut self, text: impl FnOnce() -> String) {
        let Some(shown) = &mut self.shown else { return };
        if shown.elapsed() >= EVERY {
            *shown = Instant::now();
            self.used = true;
            // Whether it is seen makes no difference to the measurement.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}: {}", self.label, text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.used {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
