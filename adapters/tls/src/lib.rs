//! TLS for MQTT as a pipe, by rustls with ring (RFC 8446 and RFC 5246; MQTT 5.0 section 5.4, 3.1.1 section 5).
//!
//! Invariants: no socket; files are read by [`Pem::read`] and [`Files::read`] alone, and the system's roots by
//! [`Roots::System`]; rustls reads the clock for the validity of certificates and nothing else does; a pipe holds at most
//! about [`MAX_PENDING`] bytes of output and what rustls keeps of an incomplete record or handshake message (64 KiB);
//! nothing that came in without a valid handshake leaves as plain bytes.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod error;
mod identity;
mod pem;
mod pipe;
mod server;

pub use client::{Client, ClientSettings, Connector, Roots};
pub use error::{Error, LoadError};
pub use identity::IdentityFrom;
pub use pem::{Files, Material, Pem};
pub use pipe::{MAX_PENDING, Stage};
pub use server::{Acceptor, ClientCertificates, Loaded, Server, ServerSettings};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// What travels inside, as the peers agree on it by ALPN (RFC 7301). A peer that names other protocols only is refused; one
/// that names none is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Application {
    /// MQTT itself: `mqtt`.
    #[default]
    Mqtt,
    /// MQTT over WebSocket: `http/1.1`.
    WebSocket,
}

impl Application {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Mqtt => vec![b"mqtt".to_vec()],
            Self::WebSocket => vec![b"http/1.1".to_vec()],
        }
    }
}

/// The cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
