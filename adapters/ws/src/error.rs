//! What ends a pipe early: a peer that breaks the rules, or a configuration that cannot work.
use crate::CloseCode;
use core::fmt;

/// What the peer did wrong. `transmit` still holds what it is owed: the HTTP answer or the Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A server refused the upgrade request.
    Request {
        /// The HTTP status that was answered.
        status: u16,
        /// Why.
        why: &'static str,
    },
    /// A client did not accept the answer to its upgrade request.
    Response {
        /// The HTTP status, if one could be read. 101 with something that contradicts the standard, or another one.
        status: Option<u16>,
        /// Why.
        why: &'static str,
    },
    /// A frame broke the rules, or a limit.
    Frame {
        /// The code that was sent with Close.
        code: CloseCode,
        /// Why.
        why: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { status, why } => write!(f, "WebSocket upgrade refused with status {status}: {why}"),
            Self::Response { status: Some(status), why } => {
                write!(f, "the server did not open a WebSocket (status {status}): {why}")
            }
            Self::Response { status: None, why } => write!(f, "the server did not open a WebSocket: {why}"),
            Self::Frame { code, why } => write!(f, "WebSocket closed with {code}: {why}"),
        }
    }
}

impl core::error::Error for Error {}

/// A client's configuration that makes no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub(crate) what: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be sent in an HTTP request: use visible ASCII characters without spaces", self.what)
    }
}

impl core::error::Error for ConfigError {}
