//! What can go wrong for a user of the client; every message says what to do.
use super::AddressError;
use mqtt_pipes::SetupError;
use mqtt_session::client::{self as machine, ConfigError, DisconnectReason, Failure, StateError};
use mqtt_session::proto::{ReasonCode, TextError, TopicFilter};
use std::{fmt, io};

/// Why [`Builder::connect`](super::Builder::connect) gave no client.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// A URL that no client can connect to.
    Address(AddressError),
    /// Options that contradict each other.
    Config(ConfigError),
    /// A text that MQTT cannot carry, such as a user name with U+0000.
    Text(TextError),
    /// No server could be reached; the last one failed so.
    Io {
        /// Its address.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// What a server is to be reached with cannot be used: certificates, say.
    Transport {
        /// Its address.
        server: String,
        /// What is wrong.
        source: SetupError,
    },
    /// Reached, but not connected.
    Disconnected(DisconnectReason),
    /// The store did not start ([`Store::start`](super::Store::start)).
    Store(io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Text(error) => write!(f, "user name, password or client identifier cannot be sent: {error}"),
            Self::Io { server, source } => {
                write!(f, "cannot reach {server}: {source}")?;
                match source.kind() {
                    io::ErrorKind::ConnectionRefused => f.write_str("; is a broker running there?"),
                    _ => Ok(()),
                }
            }
            Self::Transport { server, source } => write!(f, "cannot connect to {server}: {source}"),
            Self::Disconnected(reason) => reason.fmt(f),
            Self::Store(error) => write!(f, "the store cannot be started: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Store(source) => Some(source),
            Self::Transport { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<AddressError> for ConnectError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl From<ConfigError> for ConnectError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<TextError> for ConnectError {
    fn from(error: TextError) -> Self {
        Self::Text(error)
    }
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// No Topic Name: empty, too long, or with a wildcard.
    Topic(TextError),
    /// The message was not accepted; [`machine::PublishError::QueueFull`] comes from `try_publish` alone.
    Rejected(machine::PublishError),
    /// The message was accepted, and then failed.
    Failed(Failure),
    /// The client ended before the message was acknowledged. It may have been sent.
    Ended,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => write!(f, "this is no topic to publish to: {error}"),
            Self::Rejected(error) => error.fmt(f),
            Self::Failed(failure) => failure.fmt(f),
            Self::Ended => f.write_str("the client has ended"),
        }
    }
}

impl std::error::Error for PublishError {}

/// Why a subscription was not made, or not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No Topic Filter: empty, too long, or with a misplaced wildcard.
    Filter(TextError),
    /// The request was not accepted.
    Rejected(machine::SubscribeError),
    /// The server refused the filter.
    Refused {
        /// Which filter.
        filter: TopicFilter,
        /// Why; before MQTT 5.0 always [`ReasonCode::UnspecifiedError`].
        reason: ReasonCode,
    },
    /// The client ended before the server answered.
    Ended,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => write!(f, "this is no topic filter: {error}"),
            Self::Rejected(error) => error.fmt(f),
            Self::Refused { filter, reason } => write!(f, "the server refused `{}`: {reason:?}", filter.as_str()),
            Self::Ended => f.write_str("the client has ended"),
        }
    }
}

impl std::error::Error for SubscribeError {}

/// Why a call had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The connection's state does not allow it.
    State(StateError),
    /// The client has ended.
    Ended,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Ended => f.write_str("the client has ended"),
        }
    }
}

impl std::error::Error for CallError {}

/// [`Client::end`](super::Client::end) reached its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndError {
    /// Messages that were not acknowledged, or not even sent.
    pub unfinished: usize,
}

impl fmt::Display for EndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended before everything was sent and acknowledged: {} messages are unfinished", self.unfinished)
    }
}

impl std::error::Error for EndError {}
