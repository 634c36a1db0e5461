//! The script by which clients connect, and subscribe if they are to.
use super::herd::{Script, Step};
use super::wire::{self, Connect, Frame, Keep, Protocol};
use crate::bench::arguments::TargetArgs;
use crate::exit::Failure;
use mqtt_tokio::client::{Address, Scheme};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// The broker, and what all clients have in common.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// Without a password.
    pub(super) url: String,
    pub(super) protocol: Protocol,
    username: Option<String>,
    password: Option<Vec<u8>>,
    prefix: String,
    pub(super) topic: String,
    pub(super) pid: Option<u32>,
    /// A number that other runs have not.
    pub(super) run: u32,
}

impl Target {
    pub(super) fn new(arguments: &TargetArgs) -> Result<Self, Failure> {
        let address: Address = arguments.url.parse().map_err(Failure::usage)?;
        let url = address.to_string();
        if address.scheme != Scheme::Mqtt {
            return Err(Failure::usage(format_args!("{url}: the load goes over mqtt:// (TCP) alone")));
        }
        let found = (address.host.as_str(), address.port).to_socket_addrs();
        let mut found = found.map_err(|error| Failure::run(format_args!("{url}: {error}")))?;
        if !url.starts_with("mqtt://") {
            return Err(Failure::usage(format_args!("{url}: bench speaks plain mqtt:// only")));
        }
        let socket = found.next().ok_or_else(|| Failure::run(format_args!("{url}: this name has no address")))?;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let pid = std::process::id();
        Ok(Self {
            address: socket,
            url,
            protocol: arguments.protocol,
            username: arguments.username.clone().or(address.username),
            password: arguments.password.clone().map(String::into_bytes).or(address.password),
            prefix: arguments.client_id_prefix.clone().unwrap_or_else(|| format!("bench-{pid}")),
            topic: arguments.topic_prefix.clone(),
            pid: arguments.pid,
            run: since.subsec_nanos() ^ pid.rotate_left(16),
        })
    }

    /// Appends the CONNECT of a client.
    pub(super) fn connect(&self, client: &str, keep: Keep, out: &mut Vec<u8>) {
        let client_id = format!("{}-{client}", self.prefix);
        let (username, password) = (self.username.as_deref(), self.password.as_deref());
        Connect { protocol: self.protocol, client_id: &client_id, username, password, keep }.append(out);
    }
}

/// Connects, and subscribes the clients that have a filter.
pub(super) struct Hello<'a> {
    pub(super) target: &'a Target,
    pub(super) keep: Keep,
    /// What the names of these clients begin with.
    pub(super) role: &'static str,
    pub(super) qos: u8,
    /// Messages of QoS 1 and 2 that each will have on their way.
    pub(super) window: u64,
    pub(super) filter: &'a dyn Fn(usize) -> Option<String>,
    /// Where it ends.
    pub(super) end: Step,
}

impl<'a> Hello<'a> {
    /// Clients that only connect, and stay.
    pub(super) fn new(target: &'a Target) -> Self {
        Self { target, keep: Keep::Nothing, role: "", qos: 0, window: 0, filter: &|_| None, end: Step::Done }
    }
}

impl Script for Hello<'_> {
    fn begin(&mut self, client: usize, out: &mut Vec<u8>) {
        self.target.connect(&format!("{}{client}", self.role), self.keep, out);
    }

    fn packet(&mut self, client: usize, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<Step> {
        if frame.kind == wire::SUBACK {
            frame.subscribed(self.qos, self.target.protocol)?;
            return Ok(self.end);
        }
        frame.connected()?;
        let most = frame.receive_maximum(self.target.protocol);
        if self.qos > 0 && self.window > most {
            return Err(io::Error::other(format!("the broker takes {most} messages at once; use --window {most}")));
        }
        Ok(match (self.filter)(client) {
            Some(filter) => {
                wire::subscribe(1, &[filter], self.qos, self.target.protocol, out);
                Step::More
            }
            None => self.end,
        })
    }
}
