//! A broker on TCP, TLS, WebSocket and local sockets: [`Broker::builder`] starts it, a [`BrokerHandle`] talks to it.
//!
//! Each shard is a thread with a current-thread runtime of its own, which owns one broker machine, the sockets of its
//! connections and everything else it touches. One task drives them all: it serves the sockets that woke it, each for
//! one bounded read, then writes each connection that has something to write once. Nothing on that path is locked or
//! shared, and the number of system calls follows the number of wake-ups, not of packets.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mqtt_tokio::broker::{Broker, Config, Message};
//! use std::time::Duration;
//!
//! let broker = Broker::builder(Config::default()).listen("mqtt://127.0.0.1:1883").start().await?;
//! println!("listening on {:?}", broker.local_addrs());
//! broker.publish(Message::new("greetings".try_into()?, "hello")).await?;
//! broker.drain(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: a connection belongs to one shard from its CONNECT on; a turn of the driver is bounded (bytes read for
//! each connection, commands, connections accepted); an idle connection holds no buffer.
mod builder;
mod commands;
mod deadlines;
mod error;
mod greet;
mod handle;
mod hooks;
mod listener;
mod memory;
mod outputs;
mod ready;
mod report;
mod shard;
mod socket;
mod store;

pub use builder::{Broker, Builder};
pub use error::{StartError, Stopped};
pub use handle::{BrokerHandle, Events, LocalMessage, Reloaded, Subscription};
pub use hooks::{Authorize, HookFuture, Hooks};
pub use mqtt_pipes::tls::{
    ClientCertificates, Files, IdentityFrom, LoadError as CertificateError, Loaded as LoadedCertificates,
};
pub use mqtt_pipes::ws::ServerConfig as WebSocketConfig;
pub use mqtt_pipes::{
    Endpoint, EndpointError, Network, NetworkError, Port, PortSettings, Scheme, ServerTls, SetupError,
};
pub use mqtt_session::broker::{
    Access, Action, AuthOutcome, AuthStage, Authenticate, Authentication, Completion, Config, ConnectionLimits,
    Contents, Decision, DisconnectReason, DropReason, Event, EventMask, Features, Grant, LoadRequest, Loaded, LogEntry,
    LogHead, MemoryStore, Message, Peer, Redirect, SessionLimits, SharedStrategy, Stats, StoreBatch,
};
pub use store::{Store, StoreDone};
