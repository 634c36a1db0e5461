//! Logs on standard error, as text or as JSON.
//!
//! Invariant: standard output is for what was asked for, never for logs.
use serde::Deserialize;
use std::io::IsTerminal as _;
use tracing_subscriber::filter::LevelFilter;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// From which level on lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// No line at all.
    Off,
    /// What keeps the broker from working.
    Error,
    /// What costs somebody something: refused, dropped, closed by the server.
    Warn,
    /// Clients that come and go.
    #[default]
    Info,
    /// Subscriptions, messages where they are reported, connections.
    Debug,
    /// Everything.
    Trace,
}

/// Writes logs from now on.
pub(crate) fn start(format: Format, level: Level) {
    let level = match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}
