//! What lies between a socket and MQTT, for every runtime: TLS, WebSocket, WebSocket in TLS, the PROXY protocol (MQTT 5.0
//! sections 4.2, 5.4 and 6; 3.1.1 sections 4.2, 5 and 6).
//!
//! Invariants: no socket, no clock, no thread; the network's bytes go in, MQTT's come out, and the other way round; nothing is
//! read as MQTT before every layer below has agreed; each layer is bounded, and so is the whole.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod address;
mod client;
mod endpoint;
mod error;
mod network;
mod proxy;
mod server;
mod stack;
mod url;

pub use address::{Address, AddressError, AddressErrorKind};
pub use client::{ClientPipe, Transport, TransportSettings};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{PipeError, SetupError};
pub use mqtt_tls as tls;
pub use mqtt_ws as ws;
pub use network::{Network, NetworkError};
pub use proxy::{MAX_HEADER, ProxyError, ProxyHeader, Spoken};
pub use server::{Port, PortSettings, Served, ServerPipe, ServerTls};

/// What carries MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TCP: `mqtt://`, `tcp://`; port 1883.
    Mqtt,
    /// TLS: `mqtts://`, `tls://`, `ssl://`; port 8883.
    Mqtts,
    /// WebSocket: `ws://`; port 80.
    Ws,
    /// WebSocket in TLS: `wss://`; port 443.
    Wss,
    /// A socket in the file system: `unix:///path`.
    Unix,
}

impl Scheme {
    /// Whether TLS is part of it.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether WebSocket is part of it.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The name in front of `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    /// The port of URLs that name none; 0 for `unix`.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
            Self::Unix => 0,
        }
    }
}

/// Where a pipe stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Some layer has not agreed with its other end yet.
    Handshake,
    /// MQTT travels both ways.
    Open,
    /// Nothing more will come or go, but for what `transmit` still holds: then close the network connection.
    Closed,
}
