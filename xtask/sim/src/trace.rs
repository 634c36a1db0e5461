//! What happened, as lines for people and as one hash that two machines can compare.
//!
//! Invariant: the hash covers every line, whether lines are kept or not.
use mqtt_session::Instant;
use std::fmt;

/// The trace of a simulation.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines, or only their hash.
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, lines: keep.then(Vec::new) }
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, now: Instant, line: fmt::Arguments<'_>) {
        let micros = now.as_nanos() / 1000;
        let text = format!("{:>7}.{:06} {line}", micros / 1_000_000, micros % 1_000_000);
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3); // FNV-1a
        }
        if let Some(lines) = &mut self.lines {
            lines.push(text);
        }
    }

    /// The hash of all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines that were kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
