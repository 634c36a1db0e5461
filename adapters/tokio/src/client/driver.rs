//! The background task: it owns the socket and runs the machine.
//!
//! Invariant: each turn first does all that the machine asks for, then writes, then waits for whatever comes first.
use super::builder::random_seed;
use super::link::{self, Connection};
use super::messages::Blocked;
use super::shared::{Inner, Shared, State};
use super::store::Store;
use bytes::BytesMut;
use mqtt_pipes::Transport;
use mqtt_session::client::{Event, Output, StoreBatch};
use mqtt_session::proto::ReasonCode;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;

/// Writes in one turn.
const WRITES: usize = 16;
/// How long a connection that the machine gave up may take to write its last bytes.
const LINGER: Duration = Duration::from_secs(1);

/// A server to connect to.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) transport: Transport,
}

type Opening = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

/// The transport.
enum Link {
    Down,
    /// On its way to the server of this index.
    Opening(usize, Opening),
    Up(usize, Connection),
}

/// What only the task can do for the machine.
enum Task {
    Connect(usize),
    Close,
    Store(StoreBatch),
}

/// What the task waited for.
enum Woken {
    Opened(io::Result<Connection>),
    Ready,
    Room,
    Other,
}

/// Starts the task. The driver exists before it is first polled, so that a runtime that never polls it ends the client too.
pub(super) fn spawn(shared: Arc<Shared>, servers: Vec<Server>, store: Option<Box<dyn Store>>) {
    let mut driver = Driver { shared, servers, link: Link::Down, input: BytesMut::new(), blocked: None, store };
    driver.shared.call(|inner, now| inner.machine.connect(now));
    tokio::spawn(async move { while !driver.turn().await {} });
}

struct Driver {
    shared: Arc<Shared>,
    servers: Vec<Server>,
    link: Link,
    input: BytesMut,
    /// A message that waits for room in a stream; no other is taken meanwhile.
    blocked: Option<Blocked>,
    store: Option<Box<dyn Store>>,
}

impl Driver {
    /// Does what there is to do and waits for the next thing; `true` when the client has ended.
    async fn turn(&mut self) -> bool {
        let mut writes = 0;
        loop {
            self.take_messages();
            match self.next_task() {
                Some(Task::Connect(server)) => {
                    let opening = link::open(self.servers[server].transport.clone(), random_seed());
                    self.link = Link::Opening(server, Box::pin(opening));
                }
                Some(Task::Close) => self.close().await,
                Some(Task::Store(batch)) => self.store(batch),
                None if !self.write() => break, // what was written makes room, and so new outputs
                None if writes == WRITES => {
                    self.shared.wake.notify_one(); // reading has its turn too
                    break;
                }
                None => writes += 1,
            }
        }
        self.shared.room.notify_waiters();
        if self.end_if_due().await {
            return true;
        }
        match self.wait().await {
            Woken::Opened(result) => self.opened(result),
            Woken::Ready => self.read(),
            Woken::Room | Woken::Other => {}
        }
        false
    }

    fn store(&mut self, batch: StoreBatch) {
        if let Some(store) = &mut self.store {
            store.write(batch);
        }
    }

    /// Hands events out until the machine needs the task itself.
    fn next_task(&mut self) -> Option<Task> {
        let mut readable = false;
        let mut inner = self.shared.lock();
        let task = loop {
            match inner.machine.poll_output() {
                Some(Output::Connect { server }) => break Some(Task::Connect(server)),
                Some(Output::Close) => break Some(Task::Close),
                Some(Output::Store(batch)) => break Some(Task::Store(batch)),
                Some(Output::Event(event)) => self.report(&mut inner, event),
                Some(Output::Readable) => readable = true,
                Some(_) => {} // `write` looks for itself
                None => break None,
            }
        };
        if readable && !self.input.is_empty() {
            let now = self.shared.now();
            inner.machine.handle_input(now, &mut self.input);
            drop(inner);
            self.shared.wake.notify_one(); // what came of it is for the next turn
        }
        task
    }

    fn report(&self, inner: &mut Inner, event: Event) {
        match &event {
            Event::Kept { token } => {
                if let Some(keeper) = inner.keepers.as_mut().and_then(|keepers| keepers.remove(token)) {
                    let _ = keeper.send(()); // nobody needs to wait
                }
                return;
            }
            Event::StoreFailed => tracing::warn!("the store could not keep the session: what depends on it waits"),
            Event::Settled { token, result } => {
                if let Some(keepers) = &mut inner.keepers {
                    keepers.remove(token); // the outcome says more
                }
                if let Some(waiter) = inner.waiters.remove(token) {
                    let _ = waiter.send(result.clone()); // nobody needs to wait
                    return;
                }
            }
            Event::Connected(connected) => {
                let server = &self.servers[connected.server].name;
                tracing::info!(%server, client_id = %&*connected.client_id, session_present = connected.session_present, "connected");
                inner.io_error = None;
                self.shared.state.send_replace(State::Online);
            }
            Event::Disconnected { reason, retry_in, .. } => {
                tracing::info!(%reason, ?retry_in, "disconnected");
                // With no delay the next server is tried at once: only then has every server failed.
                let failed = retry_in.is_none_or(|delay| !delay.is_zero());
                self.shared.state.send_replace(if failed { State::Failed(reason.clone()) } else { State::Offline });
            }
            Event::Connecting { server } => tracing::debug!(server = %self.servers[*server].name, "connecting"),
            _ => {}
        }
        let _ = self.shared.events.send(event); // nobody needs to listen
    }

    /// Moves messages into their streams, until one of them is full.
    fn take_messages(&mut self) {
        let mut inner = self.shared.lock();
        while self.blocked.is_none() {
            let Some(message) = inner.machine.poll_message(self.shared.now()) else { break };
            self.blocked = inner.routes.deliver(message);
        }
    }

    /// Writes once what the socket takes; `false` if nothing.
    fn write(&mut self) -> bool {
        let Link::Up(server, connection) = &mut self.link else { return false };
        let mut inner = self.shared.lock();
        let written = if inner.machine.transmit().is_empty() {
            match connection.flush() {
                Ok(_) => return false,
                Err(error) => Err(error),
            }
        } else {
            connection.write(inner.machine.transmit().chunks())
        };
        match written {
            Ok(written) => {
                inner.machine.transmitted(self.shared.now(), written);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::debug!(%error, "cannot write");
                inner.io_error = Some((self.servers[*server].name.clone(), error));
                drop(inner);
                self.lost();
                false
            }
        }
    }

    fn read(&mut self) {
        let Link::Up(server, connection) = &mut self.link else { return };
        match connection.read(&mut self.input) {
            Ok(0) => self.lost(),
            Ok(_) => {
                let now = self.shared.now();
                self.shared.lock().machine.handle_input(now, &mut self.input);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(%error, "cannot read");
                self.shared.lock().io_error = Some((self.servers[*server].name.clone(), error));
                self.lost();
            }
        }
    }

    fn lost(&mut self) {
        self.link = Link::Down;
        self.input = BytesMut::new();
        let now = self.shared.now();
        self.shared.lock().machine.handle_disconnected(now);
        self.shared.wake.notify_one();
    }

    fn opened(&mut self, result: io::Result<Connection>) {
        let Link::Opening(server, _) = self.link else { return };
        match result {
            Ok(connection) => {
                self.link = Link::Up(server, connection);
                self.input.clear();
                let now = self.shared.now();
                self.shared.lock().machine.handle_connected(now);
            }
            Err(error) => {
                tracing::debug!(server = %self.servers[server].name, %error, "cannot connect");
                self.shared.lock().io_error = Some((self.servers[server].name.clone(), error));
                self.lost();
            }
        }
    }

    /// Writes the last bytes, within a limit, and closes.
    async fn close(&mut self) {
        if let Link::Up(_, mut connection) = std::mem::replace(&mut self.link, Link::Down) {
            let flush = async {
                loop {
                    let written = {
                        let mut inner = self.shared.lock();
                        if inner.machine.transmit().is_empty() {
                            break;
                        }
                        let written = connection.write(inner.machine.transmit().chunks());
                        if let Ok(written) = written {
                            inner.machine.transmitted(self.shared.now(), written);
                        }
                        written
                    };
                    match written {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            if connection.ready(Interest::WRITABLE).await.is_err() {
                                return;
                            }
                        }
                        Err(_) => return,
                    }
                }
                let _ = connection.finish().await; // it ends in any case
            };
            let _ = tokio::time::timeout(LINGER, flush).await;
        }
        self.input.clear();
    }

    /// Ends when that was asked for, and either nothing is left to do or the time is over.
    async fn end_if_due(&mut self) -> bool {
        {
            let mut inner = self.shared.lock();
            let Some(deadline) = inner.ending else { return false };
            let drained = inner.machine.is_drained();
            if !drained && deadline > tokio::time::Instant::now() && !inner.machine.is_idle() {
                return false;
            }
            let now = self.shared.now();
            let _ = inner.machine.disconnect(now, &ReasonCode::NORMAL_DISCONNECTION.into());
        }
        while let Some(task) = self.next_task() {
            match task {
                Task::Close => self.close().await,
                Task::Store(batch) => self.store(batch),
                Task::Connect(_) => {}
            }
        }
        true
    }

    async fn wait(&mut self) -> Woken {
        let (reads, writes, deadline) = {
            let inner = self.shared.lock();
            let at = inner.machine.poll_timeout().map(|at| self.shared.at(at));
            let deadline = at.into_iter().chain(inner.ending).min();
            (inner.machine.wants_read(), !inner.machine.transmit().is_empty(), deadline)
        };
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let link = &mut self.link;
        let link = async {
            let connection = match link {
                Link::Down => return std::future::pending().await,
                Link::Opening(_, opening) => return Woken::Opened(opening.await),
                Link::Up(_, connection) => connection,
            };
            let interest = match (reads, writes || connection.is_pending()) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                (false, true) => Interest::WRITABLE,
                (false, false) => return std::future::pending().await,
            };
            match connection.ready(interest).await {
                Ok(ready) if reads && (ready.is_readable() || ready.is_read_closed()) => Woken::Ready,
                Ok(_) => Woken::Other,
                Err(_) => Woken::Ready, // reading says what is wrong
            }
        };
        let blocked = &mut self.blocked;
        let room = async {
            let Some(waiting) = blocked else { return std::future::pending().await };
            while let Some(sender) = waiting.senders.last() {
                if let Ok(permit) = sender.reserve().await {
                    permit.send(waiting.message.clone());
                }
                waiting.senders.pop(); // served, or closed
            }
            *blocked = None;
        };
        let (mut link, mut room, mut sleep) = (pin!(link), pin!(room), pin!(sleep));
        let mut wake = pin!(self.shared.wake.notified());
        // All of them may be dropped at any await: what is not ready is asked for again in the next turn.
        let woken = poll_fn(|cx| {
            if let Poll::Ready(woken) = link.as_mut().poll(cx) {
                return Poll::Ready(woken);
            }
            if room.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Room);
            }
            if wake.as_mut().poll(cx).is_ready() || sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Other);
            }
            Poll::Pending
        })
        .await;
        let now = self.shared.now();
        self.shared.lock().machine.handle_timeout(now); // a no-op when nothing is due
        woken
    }
}

impl Drop for Driver {
    /// Streams and waiters learn that nothing more comes: at the end, and also when the runtime goes first.
    fn drop(&mut self) {
        self.store = None; // whoever sees the end may open it again
        let mut inner = self.shared.lock();
        inner.ending = Some(tokio::time::Instant::now());
        inner.waiters.clear();
        inner.keepers = None;
        inner.routes.close();
        let unfinished = inner.machine.unfinished();
        drop(inner);
        self.shared.state.send_replace(State::Ended(unfinished));
        self.shared.room.notify_waiters();
    }
}
