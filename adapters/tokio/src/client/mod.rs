//! The client on tokio.
