//! How the command fails: with a message and a documented exit code.
//!
//! Invariant: every failure says what it was on standard error, unless it was asked to be quiet.
use std::fmt::Display;
use std::process::ExitCode;

/// A reason to end with something other than 0.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Something went wrong while it ran: 1.
    pub(crate) fn run(message: impl Display) -> Self {
        Self { message: message.to_string(), code: 1 }
    }

    /// The command line or the configuration is wrong: 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { message: message.to_string(), code: 2 }
    }

    /// The time of `-W` is over: 27, as with mosquitto's clients.
    pub(crate) fn timeout(message: impl Display) -> Self {
        Self { message: message.to_string(), code: 27 }
    }

    /// The same without a word.
    pub(crate) fn silenced(self) -> Self {
        Self { message: String::new(), ..self }
    }

    /// Prints the message; gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("zanzara: {}", self.message);
        }
        ExitCode::from(self.code)
    }
}
