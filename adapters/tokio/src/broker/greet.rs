//! New connections, until their CONNECT says which shard they belong to (section 3.1).
//!
//! Invariant: the machine of a shard hears of a connection only once its CONNECT is complete.
use super::commands::{Adopted, Command};
use super::listener::{self, Accepted};
use super::shard::Shard;
use super::socket::{Received, Stage};
use mqtt_session::Instant;
use mqtt_session::broker::{Greeting, Peer};
use mqtt_session::proto::{ClientId, Connect};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::task::Context;
use std::time::Duration;
use tokio::net::TcpStream;

/// Connections that one listener may bring in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How long to wait when the system is out of open files or memory.
const EXHAUSTED: Duration = Duration::from_millis(100);

impl Shard {
    /// Accepts what waits at a listener.
    pub(super) fn accept(&mut self, index: usize, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            let (listener, waker) = &self.listeners[index];
            match listener::accept(listener, &mut Context::from_waker(waker)) {
                Accepted::Stream(stream, address) => {
                    let greeting = Greeting::new(&self.config, now);
                    let token = self.sockets.insert(stream, Stage::Greeting(Box::new((greeting, address))));
                    let sockets = &self.sockets;
                    self.greetings.push(now, token, |token| {
                        sockets.find(token).is_some_and(|socket| matches!(socket.stage, Stage::Greeting(_)))
                    });
                    self.again.push(token.key); // to have the waker ring
                }
                Accepted::Nothing => return,
                Accepted::Exhausted(error) => {
                    self.reporter.exhausted(now, &error);
                    self.accept_again = Some(now + EXHAUSTED);
                    return;
                }
            }
        }
        self.again.push(u32::MAX - u32::try_from(index).unwrap_or_default());
    }

    /// Reads a new connection once.
    pub(super) fn greet(&mut self, key: u32, now: Instant) {
        let Some(socket) = self.sockets.get(key) else { return };
        let Stage::Greeting(state) = &mut socket.stage else { return };
        let (greeting, address) = &mut **state;
        let mut outcome = Ok(None);
        let received = socket.io.receive(&mut self.buffer, |input| outcome = greeting.handle_input(input));
        match outcome {
            Ok(None) => match received {
                Received::All => {}
                Received::More => self.again.push(key),
                Received::Closed => self.close(key, now, false),
            },
            Ok(Some(connect)) => {
                let address = *address;
                self.place(key, connect, address, received, now);
            }
            Err(refusal) => {
                self.reporter.refused(now, *address, &refusal.error);
                let linger = !refusal.reply.is_empty();
                // The first bytes on a new connection: the socket takes them, or is broken.
                let _ = socket.io.stream.try_write(&refusal.reply);
                self.close(key, now, linger);
            }
        }
    }

    /// Gives a connection to the shard of its client.
    fn place(&mut self, key: u32, connect: Connect, address: SocketAddr, received: Received, now: Instant) {
        let home = self.home(&connect.client_id);
        if home == self.index {
            let conn = self.machine.handle_open(now, peer(address), connect);
            let Some(socket) = self.sockets.bind(conn, key) else { return };
            socket.stalled = !socket.io.partial.is_empty(); // it is handed in before anything is read
            if socket.stalled || received == Received::More {
                self.again.push(key);
            }
            return;
        }
        let Some(socket) = self.sockets.remove(key) else { return };
        let (stream, rest) = (socket.io.stream, socket.io.partial);
        let handed = stream.into_std().ok().zip(self.peers[home].upgrade()).and_then(|(stream, mailbox)| {
            mailbox.try_send(Command::Adopt(Box::new(Adopted { stream, address, connect, rest }))).ok()
        });
        if handed.is_none() {
            tracing::warn!(%address, "a connection was closed: its shard is too busy to take it");
        }
    }

    /// The shard of a client. Whoever has its identifier assigned may live anywhere.
    fn home(&self, client_id: &ClientId) -> usize {
        let shards = self.peers.len();
        if shards == 1 || client_id.is_empty() {
            return self.index;
        }
        usize::try_from(self.placement.hash_one(client_id.as_str()) % shards as u64).unwrap_or_default()
    }

    /// Takes a connection that another shard accepted.
    pub(super) fn adopt(&mut self, adopted: Adopted, now: Instant) {
        let Adopted { stream, address, connect, rest } = adopted;
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%address, %error, "a connection was lost on the way to its shard");
                return;
            }
        };
        let conn = self.machine.handle_open(now, peer(address), connect);
        let token = self.sockets.insert(stream, Stage::Open(conn));
        if let Some(socket) = self.sockets.bind(conn, token.key) {
            socket.stalled = !rest.is_empty();
            socket.io.partial = rest;
        }
        self.again.push(token.key); // to have the waker ring
    }
}

fn peer(address: SocketAddr) -> Peer {
    Peer { address: address.to_string(), identity: None }
}
