//! The signals that ask the program to end, or to read files again.
//!
//! Invariant: once [`Signals`] exists they no longer kill the process.

/// What a signal asks for.
pub(crate) enum Wish {
    /// To end; the signal's name.
    End(&'static str),
    /// To read files again.
    #[cfg_attr(not(unix), allow(dead_code))]
    Reload,
}

/// SIGTERM and SIGINT end the program, SIGHUP has it read files again.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What the next one asks for.
    pub(crate) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// The signal that ends the program: Ctrl-C.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) -> Wish {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Wish::End("Ctrl-C"),
            Err(_) => std::future::pending().await,
        }
    }
}
