//! What a measurement found, for people and for programs.
//!
//! Invariant: the text and the JSON say the same.
use super::pace::Summary;
use super::process::Usage;
use serde::Serialize;
use std::fmt::Write as _;

/// All of it. Its JSON is described in `docs/bench.md`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) command: &'static str,
    pub(super) settings: Settings,
    pub(super) figures: Vec<Figure>,
    pub(super) delays: Vec<Delay>,
    pub(super) check: Check,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub(super) url: String,
    pub(super) protocol: &'static str,
    pub(super) qos: Option<u8>,
    pub(super) payload_bytes: Option<usize>,
    pub(super) window: Option<u64>,
    /// In words.
    pub(super) what: String,
}

/// A number that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// Unique within a report, and the same in each of the same command.
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// Which of two is the better one: the `higher` or the `lower`.
    pub(super) better: &'static str,
}

/// Percentiles, in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Delay {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    #[serde(flatten)]
    pub(super) summary: Summary,
}

/// Whether everything came, once, in order.
#[derive(Debug, Default, Serialize)]
pub(super) struct Check {
    pub(super) published: u64,
    /// Deliveries that the subscribers are owed.
    pub(super) expected: u64,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Messages of other runs, or for which a subscriber had not asked.
    pub(super) foreign: u64,
    /// Messages of QoS 1 and 2 whose acknowledgement did not come.
    pub(super) unacknowledged: u64,
    /// Clients that failed or did not answer.
    pub(super) failed_clients: u64,
    pub(super) sound: bool,
}

impl Check {
    /// Says whether it is sound; messages of others are none of our faults.
    pub(super) fn judged(mut self) -> Self {
        self.lost = self.expected.saturating_sub(self.delivered);
        self.sound = self.faults().is_empty();
        self
    }

    /// In words, what is wrong.
    pub(super) fn faults(&self) -> String {
        let faults = [
            (self.lost, "lost"),
            (self.duplicated, "delivered again"),
            (self.reordered, "out of order"),
            (self.unacknowledged, "not acknowledged"),
            (self.failed_clients, "clients failed"),
        ];
        let found = faults.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        found.collect::<Vec<String>>().join(", ")
    }
}

impl Report {
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts can be written")
    }

    pub(super) fn text(&self) -> String {
        let Settings { url, protocol, qos, payload_bytes, window, what } = &self.settings;
        let mut text = format!("{}: {what}", self.command);
        let mut say = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("writing to a String cannot fail");
        if let Some(qos) = qos {
            say(format_args!(", QoS {qos}"));
        }
        if let Some(bytes) = payload_bytes {
            say(format_args!(", {bytes} B"));
        }
        if let Some(window) = window {
            say(format_args!(", window {window}"));
        }
        say(format_args!(", MQTT {protocol}, {url}\n"));
        for Figure { name, value, unit, .. } in &self.figures {
            say(format_args!("  {name:<26}{:>16} {unit}\n", number(*value)));
        }
        for Delay { name, unit, summary } in &self.delays {
            let Summary { count, min, mean, p50, p90, p99, p999, p9999, max } = *summary;
            say(format_args!("  {name}, {count} values, in {unit}:\n"));
            for (name, value) in [
                ("min", min),
                ("mean", mean),
                ("50 %", p50),
                ("90 %", p90),
                ("99 %", p99),
                ("99.9 %", p999),
                ("99.99 %", p9999),
                ("max", max),
            ] {
                say(format_args!("    {name:<24}{:>16}\n", number(value)));
            }
        }
        let Check { published, expected, delivered, foreign, .. } = self.check;
        if expected > 0 {
            say(format_args!("  check: {published} published, {delivered} of {expected} delivered"));
        } else {
            say(format_args!("  check"));
        }
        let faults = self.check.faults();
        say(format_args!(": {}", if faults.is_empty() { "sound" } else { &faults }));
        if foreign > 0 {
            say(format_args!(" ({foreign} messages were not of this run)"));
        }
        text.push('\n');
        text
    }
}

/// With thousands apart, and three digits behind the point where they mean something.
fn number(value: f64) -> String {
    if value.abs() < 1000.0 {
        return if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digit != '-' && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate in `unit`; `None` if no time passed.
pub(super) fn rate(name: impl Into<String>, count: u64, seconds: f64, unit: &'static str) -> Option<Figure> {
    (seconds > 0.0).then(|| Figure { name: name.into(), value: amount(count) / seconds, unit, better: "higher" })
}

/// Processor time for each of `count` things, and memory, between two looks at a process.
pub(super) fn costs(
    name: impl Into<String>,
    each: &'static str,
    count: u64,
    before: Option<Usage>,
    after: Option<Usage>,
) -> Option<Figure> {
    let (before, after) = before.zip(after).filter(|_| count > 0)?;
    let spent = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / amount(count);
    Some(Figure { name: name.into(), value: spent, unit: each, better: "lower" })
}

/// Memory that a process gained for each of `count` things.
pub(super) fn memory(
    name: impl Into<String>,
    count: u64,
    before: Option<Usage>,
    after: Option<Usage>,
) -> Option<Figure> {
    let (before, after) = before.zip(after).filter(|_| count > 0)?;
    let gained = amount(after.memory.saturating_sub(before.memory)) / amount(count);
    Some(Figure { name: name.into(), value: gained, unit: "bytes", better: "lower" })
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^52")]
pub(super) fn amount(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_and_did_not_come_is_lost() {
        let check = Check { published: 5, expected: 10, delivered: 8, duplicated: 1, ..Check::default() }.judged();
        assert!(!check.sound);
        assert_eq!(check.faults(), "2 lost, 1 delivered again");
        assert!(Check { expected: 3, delivered: 3, foreign: 9, ..Check::default() }.judged().sound);
        for fault in [
            Check { reordered: 1, ..Check::default() },
            Check { unacknowledged: 1, ..Check::default() },
            Check { failed_clients: 1, ..Check::default() },
        ] {
            assert!(!fault.judged().sound);
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0.091, 999.0, 1000.0, 1_234_567.8].map(number), ["0.091", "999", "1,000", "1,234,568"]);
    }
}
