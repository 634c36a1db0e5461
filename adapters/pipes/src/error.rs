//! What can go wrong in a pipe, and before there is one.
use crate::ProxyError;
use std::{fmt, io, net::IpAddr};

/// What ended a pipe. `transmit` still holds what the peer is owed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PipeError {
    /// The connection does not come from a proxy that is trusted, where only such ones are.
    Untrusted(IpAddr),
    /// The header of the PROXY protocol.
    Proxy(ProxyError),
    /// TLS.
    Tls(mqtt_tls::Error),
    /// WebSocket.
    WebSocket(mqtt_ws::Error),
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(address) => write!(f, "{address} is not among the trusted proxies"),
            Self::Proxy(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::WebSocket(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PipeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Untrusted(_) => None,
            Self::Proxy(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::WebSocket(error) => Some(error),
        }
    }
}

impl From<PipeError> for io::Error {
    fn from(error: PipeError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Why settings make no pipe.
#[derive(Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// Certificates, keys or authorities.
    Tls(mqtt_tls::LoadError),
    /// A WebSocket's request.
    WebSocket(mqtt_ws::ConfigError),
    /// Something is set that this transport has no use for, or not set that it needs; the text says what.
    Settings(&'static str),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::WebSocket(error) => error.fmt(f),
            Self::Settings(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tls(error) => Some(error),
            Self::WebSocket(error) => Some(error),
            Self::Settings(_) => None,
        }
    }
}

impl From<mqtt_tls::LoadError> for SetupError {
    fn from(error: mqtt_tls::LoadError) -> Self {
        Self::Tls(error)
    }
}
