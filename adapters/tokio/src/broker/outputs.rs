//! What comes out of the machine: bytes for sockets, requests, messages for the embedder, events.
//!
//! Invariant: after `settle` the machine has nothing left to say, unless it returned `true`.
use super::commands::Command;
use super::handle::LocalMessage;
use super::hooks::Authorize;
use super::shard::Shard;
use super::socket::Stage;
use mqtt_session::Instant;
use mqtt_session::broker::{AuthOutcome, Completion, ConnId, Decision, LocalId, Output, Request, StoreSeq};
use mqtt_session::proto::ReasonCode;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Rounds of writing in one `settle`: what was written makes room for more.
const ROUNDS: usize = 4;
/// Bytes that one connection may take in one round.
const WRITE_SIZE: usize = 1024 * 1024;

impl Shard {
    /// Takes everything out of the machine and writes each connection that has something to write. `true`: there is
    /// more to write, for the next turn.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        self.unsettled = 0;
        for _ in 0..ROUNDS {
            self.take_outputs(now);
            if self.dirty.is_empty() {
                return false;
            }
            let mut dirty = mem::take(&mut self.dirty);
            for conn in dirty.drain(..) {
                self.flush(conn, now);
            }
            if self.dirty.is_empty() {
                self.dirty = dirty; // keeps its memory
            }
        }
        self.take_outputs(now);
        !self.dirty.is_empty()
    }

    /// Takes outputs until there are none, storing included.
    fn take_outputs(&mut self, now: Instant) {
        loop {
            let mut stored = None;
            while let Some(output) = self.machine.poll_output() {
                match output {
                    Output::Writable(conn) => self.dirty.push(conn),
                    Output::Readable(conn) => self.again.extend(self.sockets.key_of(conn)),
                    Output::Close(conn) => self.end(conn, now),
                    Output::Request(request) => stored = self.request(request).or(stored),
                    Output::Message { subscription, message, retained } => {
                        let message = LocalMessage { message, retained, missed: 0 };
                        let heard = self.locals.deliver(subscription, message);
                        self.unsubscribe((!heard).then_some(subscription));
                    }
                    Output::Event(event) => self.reporter.event(now, event),
                    _ => {}
                }
            }
            // The store in memory keeps everything at once, so acknowledgments go into the same write.
            let Some(upto) = stored else { return };
            self.machine.handle_completion(now, Completion::Stored { upto });
        }
    }

    /// Writes what a connection has to write, as far as its socket takes it.
    fn flush(&mut self, conn: ConnId, now: Instant) {
        let Some(key) = self.sockets.key_of(conn) else { return };
        let Some(socket) = self.sockets.get(key) else { return };
        if socket.blocked {
            return; // its waker rings
        }
        let mut written = 0;
        loop {
            let queue = self.machine.transmit(conn);
            if queue.is_empty() {
                break;
            }
            if written >= WRITE_SIZE {
                self.dirty.push(conn);
                return;
            }
            match socket.io.write(queue) {
                Ok(bytes) => {
                    self.machine.transmitted(now, conn, bytes);
                    written += bytes;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    socket.blocked = true;
                    return;
                }
                Err(_) => {
                    self.close(key, now, false);
                    return;
                }
            }
        }
        if matches!(socket.stage, Stage::Ending(_)) {
            match socket.io.finish() {
                Ok(false) => socket.blocked = true,
                flushed => self.close(key, now, flushed.is_ok()),
            }
        }
    }

    /// Has a request answered. Without a store, what is to be stored is stored already; its number is returned.
    fn request(&mut self, request: Request) -> Option<StoreSeq> {
        match request {
            Request::Store(batch) => match &mut self.store {
                Some(store) => store.write(batch),
                None => return Some(batch.seq),
            },
            Request::Load(request) => {
                // Without a store nothing is asked for.
                if let Some(store) = &mut self.store {
                    store.load(request);
                }
            }
            Request::Authenticate(question) => {
                let id = question.id;
                let hooks = self.hooks.clone();
                let asked = self.runtime.spawn(async move {
                    match hooks {
                        Some(hooks) => hooks.authenticate(question).await,
                        None => unavailable(),
                    }
                });
                self.complete(async move {
                    Completion::Authenticated { id, outcome: asked.await.unwrap_or_else(|_| unavailable()) }
                });
            }
            Request::Authorize { id, client_id, identity, action } => {
                let hooks = self.hooks.clone();
                let asked = self.runtime.spawn(async move {
                    match hooks {
                        Some(hooks) => hooks.authorize(Authorize { client_id, identity, action }).await,
                        None => (Decision::Deny, Duration::ZERO),
                    }
                });
                self.complete(async move {
                    let (decision, cache_for) = asked.await.unwrap_or((Decision::Deny, Duration::ZERO));
                    Completion::Authorized { id, decision, cache_for }
                });
            }
            _ => {}
        }
        None
    }

    /// Brings the answer of a hook back through the mailbox.
    fn complete(&self, answer: impl Future<Output = Completion> + Send + 'static) {
        let mailbox = self.peers[self.index].clone();
        self.runtime.spawn(async move {
            let completion = answer.await;
            if let Some(mailbox) = mailbox.upgrade() {
                // An error means that the shard has ended, and the question with it.
                let _ = mailbox.send(Command::Complete(completion)).await;
            }
        });
    }

    /// Ends a subscription made from inside.
    pub(super) fn unsubscribe(&mut self, id: Option<LocalId>) {
        let Some(id) = id else { return };
        self.locals.remove(id);
        self.machine.unsubscribe(id);
    }
}

/// The answer for a hook that has none.
fn unavailable() -> AuthOutcome {
    AuthOutcome::Refuse { reason: ReasonCode::ServerUnavailable, reason_string: None }
}

/// Subscriptions made from inside.
#[derive(Debug, Default)]
pub(super) struct Locals(HashMap<LocalId, Local>);

#[derive(Debug)]
struct Local {
    messages: mpsc::Sender<LocalMessage>,
    /// Messages that found the queue full since the last one that did not.
    missed: u64,
}

impl Locals {
    pub(super) fn insert(&mut self, id: LocalId, messages: mpsc::Sender<LocalMessage>) {
        self.0.insert(id, Local { messages, missed: 0 });
    }

    fn remove(&mut self, id: LocalId) {
        self.0.remove(&id);
    }

    /// `false`: nobody listens any more.
    fn deliver(&mut self, id: LocalId, mut message: LocalMessage) -> bool {
        let Some(local) = self.0.get_mut(&id) else { return false };
        message.missed = local.missed;
        match local.messages.try_send(message) {
            Ok(()) => local.missed = 0,
            Err(TrySendError::Full(_)) => local.missed += 1,
            Err(TrySendError::Closed(_)) => return false,
        }
        true
    }
}
