//! New connections, until their CONNECT says which shard they belong to (section 3.1).
//!
//! Invariant: the machine of a shard hears of a connection only once its CONNECT is complete.
use super::commands::{Adopted, Command};
use super::listener::{self, Accepted};
use super::shard::Shard;
use super::socket::{Received, Socket, Stage};
use crate::stream::{Origin, Stream};
use bytes::BytesMut;
use mqtt_pipes::Served;
use mqtt_session::Instant;
use mqtt_session::broker::{Greeting, Peer};
use mqtt_session::proto::{ClientId, ConnAck, Connect, Properties, ReasonCode, Utf8String};
use std::hash::BuildHasher;
use std::task::Context;
use std::time::Duration;

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
                Accepted::Stream(stream, origin) => {
                    let pipe = match listener.port.accept(origin.ip()) {
                        Ok(Served::Plain) => None,
                        Ok(Served::Piped(pipe)) => Some(pipe),
                        Err(error) => {
                            self.reporter.refused(now, origin, &error);
                            continue;
                        }
                    };
                    let greeting = Greeting::new(&self.config, now);
                    let token = self.sockets.insert(stream, pipe, Stage::Greeting(Box::new((greeting, origin))));
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
        let (greeting, origin) = &mut **state;
        let mut outcome = Ok(None);
        let received = socket.io.receive(&mut self.buffer, |input| outcome = greeting.handle_input(input));
        if let Some(pipe) = &socket.io.pipe {
            if let Some(source) = pipe.source() {
                *origin = Origin::Address(source);
            }
            if pipe.is_transparent() {
                socket.io.pipe = None;
            }
        }
        let origin = *origin;
        match outcome {
            Ok(None) => match received {
                Received::All => {}
                Received::More => self.again.push(key),
                Received::Closed => {
                    let failure = socket.io.failure.take();
                    if let Some(error) = &failure {
                        self.reporter.refused(now, origin, error);
                    }
                    self.close(key, now, failure.is_some());
                }
            },
            Ok(Some(mut connect)) => match identify(socket, origin, &mut connect) {
                Ok(peer) => self.place(key, connect, peer, received, now),
                Err(reply) => {
                    self.reporter.refused(
                        now,
                        origin,
                        &"its certificate names nobody, and that is to be the user name",
                    );
                    socket.io.say(&reply);
                    self.close(key, now, true);
                }
            },
            Err(refusal) => {
                self.reporter.refused(now, origin, &refusal.error);
                let linger = !refusal.reply.is_empty();
                // The first bytes on a new connection: the socket takes them, or is broken.
                socket.io.say(&refusal.reply);
                self.close(key, now, linger);
            }
        }
    }

    /// Gives a connection to the shard of its client.
    fn place(&mut self, key: u32, connect: Connect, peer: Peer, received: Received, now: Instant) {
        let home = self.home(&connect.client_id);
        if home == self.index {
            let conn = self.machine.handle_open(now, peer, connect);
            let Some(socket) = self.sockets.bind(conn, key) else { return };
            socket.stalled = !socket.io.partial.is_empty(); // it is handed in before anything is read
            if socket.stalled || received == Received::More {
                self.again.push(key);
            }
            return;
        }
        let Some(socket) = self.sockets.take(key) else { return };
        let (stream, rest, pipe) = (socket.io.stream, socket.io.partial, socket.io.pipe);
        let address = peer.address.clone();
        let handed = stream.detach().ok().zip(self.peers[home].upgrade()).and_then(|(stream, mailbox)| {
            mailbox.try_send(Command::Adopt(Box::new(Adopted { stream, pipe, peer, connect, rest }))).ok()
        });
        if handed.is_none() {
            tracing::warn!(address, "a connection was closed: its shard is too busy to take it");
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
        let Adopted { stream, peer, connect, rest, pipe } = adopted;
        let stream = match Stream::attach(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(address = peer.address, %error, "a connection was lost on the way to its shard");
                return;
            }
        };
        let conn = self.machine.handle_open(now, peer, connect);
        let token = self.sockets.insert(stream, pipe, Stage::Open(conn));
        if let Some(socket) = self.sockets.bind(conn, token.key) {
            socket.stalled = !rest.is_empty();
            socket.io.partial = rest;
        }
        self.again.push(token.key); // to have the waker ring
    }
}

/// Who connects, as far as the transport knows; its name is the User Name where the port says so. An error is the packet for
/// a client that has no name there.
fn identify(socket: &Socket, origin: Origin, connect: &mut Connect) -> Result<Peer, BytesMut> {
    let mut peer = Peer { address: origin.to_string(), identity: None };
    let Some(pipe) = &socket.io.pipe else { return Ok(peer) };
    peer.identity = pipe.identity();
    if pipe.identity_as_username() {
        let name = peer.identity.as_deref().and_then(|name| Utf8String::try_from(name).ok());
        if name.is_none() {
            let reason = ReasonCode::NotAuthorized;
            let packet = ConnAck { session_present: false, reason, properties: Properties::default() };
            let mut reply = BytesMut::new();
            let _ = packet.encode(connect.version, &mut reply); // every version has this reason
            return Err(reply);
        }
        connect.username = name;
    }
    Ok(peer)
}
