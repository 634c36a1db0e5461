//! What the handles and the background task share.
//!
//! Invariants: the lock is held for single calls into the machine and never across an await; who changes the machine wakes the task.
use super::messages::Routes;
use mqtt_session::Instant;
use mqtt_session::client::{self as machine, Event, Failure, Outcome, Token};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast, oneshot, watch};

/// Events that a slow receiver may stay behind.
const EVENTS: usize = 256;

pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// There is something for the task to do.
    pub(super) wake: Notify,
    /// The queue may have room again.
    pub(super) room: Notify,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) state: watch::Sender<State>,
    origin: tokio::time::Instant,
}

pub(super) struct Inner {
    pub(super) machine: machine::Client,
    pub(super) routes: Routes,
    /// Who waits for a token.
    pub(super) waiters: HashMap<Token, oneshot::Sender<Result<Outcome, Failure>>>,
    /// Who waits until a token is kept; none without a store.
    pub(super) keepers: Option<HashMap<Token, oneshot::Sender<()>>>,
    /// The client is to end: when drained, or then.
    pub(super) ending: Option<tokio::time::Instant>,
    /// The last error of a transport, for those who wait for the first connection.
    pub(super) io_error: Option<(String, io::Error)>,
}

/// Where the connection stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not connected yet, or not any more.
    Offline,
    /// Every server failed once, the last one so.
    Failed(machine::DisconnectReason),
    /// Connected.
    Online,
    /// Ended, with so many messages unfinished.
    Ended(usize),
}

impl Shared {
    pub(super) fn new(machine: machine::Client, routes: Routes, has_store: bool) -> Self {
        let keepers = has_store.then(HashMap::new);
        let inner = Inner { machine, routes, waiters: HashMap::new(), keepers, ending: None, io_error: None };
        Self {
            inner: Mutex::new(inner),
            wake: Notify::new(),
            room: Notify::new(),
            events: broadcast::Sender::new(EVENTS),
            state: watch::Sender::new(State::Offline),
            origin: tokio::time::Instant::now(),
        }
    }

    /// The machine, without waking the task.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside the machine would be our bug; going on is the better half of it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the machine, and has the task do what follows from it.
    pub(super) fn call<T>(&self, call: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let answer = call(&mut self.lock(), self.now());
        self.wake.notify_one();
        answer
    }

    /// The machine's clock.
    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The task's clock.
    pub(super) fn at(&self, instant: Instant) -> tokio::time::Instant {
        // Deadlines far beyond a life time need no exactness, and must not overflow.
        const CENTURY: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;
        self.origin + std::time::Duration::from_nanos(instant.as_nanos().min(CENTURY))
    }

    /// Asks for the end: when everything is settled, or at `deadline`.
    pub(super) fn end_at(&self, deadline: tokio::time::Instant) {
        let ending = &mut self.lock().ending;
        *ending = Some(ending.map_or(deadline, |earlier| earlier.min(deadline)));
        self.wake.notify_one();
    }
}

/// The part of a client that its clones share; with the last one the client ends.
pub(super) struct Handle(pub(super) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end_at(tokio::time::Instant::now());
    }
}
