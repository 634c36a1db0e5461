//! What every scenario needs: a broker process, the tools, child processes with a deadline, and a minimal client for preparations.

mod both;
mod broker;
mod certificates;
mod process;
mod raw;
mod script;
pub(crate) mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) use both::{against_both, prepared};
pub(crate) use broker::Broker;
pub(crate) use certificates::Certificates;
pub(crate) use process::Process;
pub(crate) use raw::retain;
pub(crate) use script::{lists, run, scenarios};

/// How long anything may take before a test gives up. It bounds a failing run and says nothing about speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// The retained topic that tells a subscriber's owner that its subscriptions stand; its payload is the same text.
pub(crate) const READY: &str = "test/ready";

/// A path that no other test of this run uses.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}-{name}", std::process::id()))
}

/// Bytes of which no two positions near each other agree, so that a shifted or repeated part shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Our own command line: `zanzara pub` or `zanzara sub`.
pub(crate) fn own(action: &str, broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zanzara"));
    command.arg(action).args(["-h", "127.0.0.1", "-p", &broker.port()]).args(arguments);
    command
}
