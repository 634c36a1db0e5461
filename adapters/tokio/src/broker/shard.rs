//! One shard: a thread, its runtime, and the task that drives machine and sockets.
//!
//! Invariant: nothing here is shared; other threads reach it through its mailbox.
use super::commands::Command;
use super::deadlines::{Deadlines, Token};
use super::listener::{Bound, Listener};
use super::memory::Meter;
use super::outputs::Locals;
use super::ready::{Bell, ReadyQueue};
use super::report::Reporter;
use super::socket::{Received, Socket, Sockets, Stage};
use super::{Config, Contents, Hooks, StartError, Store};
use bytes::BytesMut;
use mqtt_session::broker::{Broker as Machine, Completion, ConnId};
use mqtt_session::{Instant, UnixTime};
use std::future::{Future, poll_fn};
use std::hash::RandomState;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;

/// Bytes read after which the connections that have something to write are served before reading on: it bounds what a
/// turn can pile up for one receiver.
const SETTLE_AFTER: usize = 64 * 1024;
/// How long a connection that the machine ended may take to accept its last bytes.
const ENDING: Duration = Duration::from_secs(5);
/// How long the peer of a connection that we ended may take to close.
const LINGERING: Duration = Duration::from_secs(1);

/// The clock that a broker's shards share: nanoseconds since its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(std::time::Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(super) fn now(self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same moment for the runtime; `None`: too far away to be waited for.
    fn at(self, instant: Instant) -> Option<tokio::time::Instant> {
        self.0.checked_add(Duration::from_nanos(instant.as_nanos())).map(tokio::time::Instant::from_std)
    }
}

/// What a shard begins with.
pub(super) struct Setup {
    pub(super) index: usize,
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) seed: [u8; 32],
    pub(super) listeners: Vec<Bound>,
    pub(super) inbox: mpsc::Receiver<Command>,
    /// The mailboxes of all shards; weak, so that they end when no [`BrokerHandle`](super::BrokerHandle) is left.
    pub(super) peers: Arc<[mpsc::WeakSender<Command>]>,
    /// Which shard a client identifier belongs to.
    pub(super) placement: RandomState,
    pub(super) hooks: Option<Arc<dyn Hooks>>,
    /// Where to keep what must survive, and what it holds.
    pub(super) store: Option<(Box<dyn Store>, Contents)>,
    /// Where hooks run.
    pub(super) runtime: tokio::runtime::Handle,
}

/// Starts the thread of a shard. `end` becomes `true` when it ends in good order.
pub(super) fn start(setup: Setup, end: watch::Sender<bool>) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let name = format!("mqtt-shard-{}", setup.index);
    let run = move || {
        let driver = async move { Shard::new(setup)?.run().await };
        // As a task: the runtime wakes a task on its own thread without a system call, unlike `block_on`'s future.
        let driven = runtime.block_on(async { tokio::spawn(tokio::task::unconstrained(driver)).await });
        match driven {
            Ok(Ok(())) => drop(end.send(true)),
            Ok(Err(error)) => tracing::error!(%error, "a shard could not use its sockets"),
            Err(_) => tracing::error!("a shard has panicked: this is a bug, please report it"),
        }
    };
    std::thread::Builder::new().name(name).spawn(run).map_err(StartError::Thread)?;
    Ok(())
}

/// A shard: the machine, its sockets, and what connects them.
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) config: Arc<Config>,
    clock: Clock,
    pub(super) machine: Machine,
    pub(super) sockets: Sockets,
    /// Listening sockets with their wakers. Their keys count down from `u32::MAX`.
    pub(super) listeners: Vec<(Listener, Waker)>,
    /// When to accept again, after the system ran out of something.
    pub(super) accept_again: Option<Instant>,
    pub(super) greetings: Deadlines,
    endings: Deadlines,
    lingers: Deadlines,
    ready: Arc<ReadyQueue>,
    /// The memory of the queue's other half.
    keys: Vec<u32>,
    /// Sockets to serve in the next turn without being woken.
    pub(super) again: Vec<u32>,
    /// Connections that have something to write.
    pub(super) dirty: Vec<ConnId>,
    /// Bytes handed in since the last [`Shard::settle`].
    pub(super) unsettled: usize,
    /// Where sockets are read into.
    pub(super) buffer: BytesMut,
    pub(super) locals: Locals,
    pub(super) reporter: Reporter,
    memory: Meter,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) peers: Arc<[mpsc::WeakSender<Command>]>,
    pub(super) placement: RandomState,
    pub(super) hooks: Option<Arc<dyn Hooks>>,
    /// `None`: what is to be stored is in memory, and so it is stored.
    pub(super) store: Option<Box<dyn Store>>,
    /// Answers of the store; at most one for each batch that it holds.
    kept: mpsc::UnboundedReceiver<Completion>,
    pub(super) runtime: tokio::runtime::Handle,
    /// Set once it stops: when to give up what is still connected.
    pub(super) drain_by: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    /// When `sleep` wakes the driver.
    armed: Option<Instant>,
}

/// What a turn ended with.
enum Turn {
    /// There is more to do: see what the runtime has, then go on.
    Again,
    /// Everything is closed.
    Over,
}

impl Shard {
    fn new(setup: Setup) -> std::io::Result<Self> {
        let Setup { index, config, clock, seed, listeners, inbox, peers, placement, hooks, store, runtime } = setup;
        let ready = Arc::new(ReadyQueue::default());
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = UnixTime::from_millis(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
        let mut own = Vec::new();
        for (key, listener) in (0..=u32::MAX).rev().zip(listeners) {
            own.push((listener.serve()?, Bell::waker(key, &ready)));
        }
        let (done, kept) = mpsc::unbounded_channel();
        let (store, machine) = match store {
            None => (None, Machine::new(Arc::clone(&config), seed, clock.now(), wall)),
            Some((mut store, contents)) => {
                // An error means that the shard has ended.
                store.start(Box::new(move |completion| drop(done.send(completion))))?;
                (Some(store), Machine::restore(Arc::clone(&config), seed, clock.now(), wall, contents))
            }
        };
        Ok(Self {
            index,
            clock,
            machine,
            sockets: Sockets::new(Arc::clone(&ready)),
            accept_again: Some(Instant::ZERO), // the first turn polls the listeners, which arms their wakers
            listeners: own,
            greetings: Deadlines::new(config.connection.connect_timeout),
            endings: Deadlines::new(ENDING),
            lingers: Deadlines::new(LINGERING),
            ready,
            keys: Vec::new(),
            again: Vec::new(),
            dirty: Vec::new(),
            unsettled: 0,
            buffer: BytesMut::new(),
            locals: Locals::default(),
            reporter: Reporter::default(),
            memory: Meter::new(config.sys_interval),
            config,
            inbox,
            peers,
            placement,
            hooks,
            store,
            kept,
            runtime,
            drain_by: None,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
        })
    }

    /// Drives the shard until it is over.
    async fn run(mut self) -> std::io::Result<()> {
        while let Turn::Again = poll_fn(|cx| self.turn(cx)).await {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// One turn: everything that is due now, each thing bounded. Pending when nothing is left to do.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let now = self.clock.now();
        let mut more = self.serve_mailbox(now, cx);
        self.serve_store(now, cx);
        self.serve_deadlines(now);

        let mut keys = mem::take(&mut self.keys);
        self.ready.take(&mut keys);
        keys.append(&mut self.again);
        for key in keys.drain(..) {
            self.serve(key, now);
            if self.unsettled >= SETTLE_AFTER {
                more |= self.settle(now);
            }
        }
        self.keys = keys;
        more |= self.settle(now);

        if self.drain_by.is_some() && self.sockets.len() == 0 {
            return Poll::Ready(Turn::Over);
        }
        more |= self.arm(now, cx);
        if more || !self.again.is_empty() || !self.ready.sleep(cx.waker()) {
            return Poll::Ready(Turn::Again);
        }
        Poll::Pending
    }

    /// Serves one socket that can be read or written, or has to be looked at.
    fn serve(&mut self, key: u32, now: Instant) {
        let listener = (u32::MAX - key) as usize;
        if listener < self.listeners.len() {
            self.accept(listener, now);
            return;
        }
        let Some(socket) = self.sockets.get(key) else { return };
        let blocked = mem::take(&mut socket.blocked);
        if socket.io.flush().is_err() {
            self.close(key, now, false);
            return;
        }
        match socket.stage {
            Stage::Greeting(_) => self.greet(key, now),
            Stage::Open(conn) => {
                if blocked {
                    self.dirty.push(conn);
                }
                self.receive(key, conn, now);
            }
            Stage::Ending(conn) => {
                if blocked {
                    self.dirty.push(conn);
                }
            }
            Stage::Lingering => match socket.io.receive(&mut self.buffer, BytesMut::clear) {
                Received::All => {}
                Received::More => self.again.push(key),
                Received::Closed => self.sockets.remove(key),
            },
        }
    }

    /// Hands the answers of the store in.
    fn serve_store(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(completion)) = self.kept.poll_recv(cx) {
            self.machine.handle_completion(now, completion);
        }
    }

    /// Reads a connection once.
    fn receive(&mut self, key: u32, conn: ConnId, now: Instant) {
        let Some(socket) = self.sockets.get(key) else { return };
        let Socket { io, stalled, .. } = socket;
        if *stalled && self.machine.wants_read(conn) {
            self.machine.handle_input(now, conn, &mut io.partial);
        }
        *stalled = !self.machine.wants_read(conn);
        if *stalled {
            return; // `Output::Readable` puts it into `again`
        }
        let received = io.receive(&mut self.buffer, |input| {
            self.unsettled += input.len();
            self.machine.handle_input(now, conn, input);
        });
        *stalled = !self.machine.wants_read(conn);
        match received {
            Received::All => {}
            Received::More => self.again.push(key),
            Received::Closed => {
                if let Some(error) = &io.failure {
                    tracing::debug!(%error, "a connection is closed");
                }
                let linger = io.failure.is_some(); // the peer is told
                self.close(key, now, linger);
            }
        }
    }

    /// Begins to end a connection, as the machine asked.
    pub(super) fn end(&mut self, conn: ConnId, now: Instant) {
        let Some(key) = self.sockets.key_of(conn) else { return };
        let Some(socket) = self.sockets.get(key) else { return };
        if self.machine.transmit(conn).is_empty() && socket.io.pipe.is_none() {
            self.close(key, now, false);
            return;
        }
        socket.stage = Stage::Ending(conn);
        let token = Token { key, serial: socket.serial };
        let sockets = &self.sockets;
        self.endings.push(now, token, |token| sockets.find(token).is_some());
        if !sockets.find(token).is_some_and(|socket| socket.blocked) {
            self.dirty.push(conn);
        }
    }

    /// Closes a socket, whatever it is doing; after a moment for the peer to read if `linger`.
    pub(super) fn close(&mut self, key: u32, now: Instant, linger: bool) {
        let Some(socket) = self.sockets.get(key) else { return };
        let token = Token { key, serial: socket.serial };
        let stage = mem::replace(&mut socket.stage, Stage::Lingering);
        if linger {
            socket.io.shut();
            socket.io.partial = BytesMut::new();
            let sockets = &self.sockets;
            self.lingers.push(now, token, |token| sockets.find(token).is_some());
            self.again.push(key); // to have the waker ring
        } else {
            self.sockets.remove(key);
        }
        if let Stage::Open(conn) | Stage::Ending(conn) = stage {
            self.machine.handle_closed(now, conn);
        }
    }

    /// Begins to stop; a second call can only shorten the time.
    pub(super) fn drain(&mut self, now: Instant, by: Instant) {
        if let Some(earlier) = self.drain_by {
            self.drain_by = Some(earlier.min(by));
            return;
        }
        self.drain_by = Some(by);
        self.listeners.clear();
        self.accept_again = None;
        for key in self.sockets.keys() {
            if self.sockets.get(key).is_some_and(|socket| matches!(socket.stage, Stage::Greeting(_))) {
                self.sockets.remove(key);
            }
        }
        self.machine.handle_shutdown(now);
    }

    /// Serves every deadline that has come.
    fn serve_deadlines(&mut self, now: Instant) {
        if self.armed.is_some_and(|at| at <= now) {
            self.armed = None;
        }
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            if let Some(bytes) = self.memory.read(now) {
                self.machine.set_process_memory(bytes);
            }
            self.machine.handle_timeout(now);
        }
        if self.reporter.next().is_some_and(|at| at <= now) {
            self.reporter.flush(now);
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.again.extend((0..=u32::MAX).rev().take(self.listeners.len()));
        }
        while let Some(token) = self.greetings.expired(now) {
            if let Some(Socket { stage: Stage::Greeting(state), .. }) = self.sockets.find(token) {
                self.reporter.silent(now, state.1);
                self.close(token.key, now, false);
            }
        }
        while let Some(token) = self.endings.expired(now) {
            if self.sockets.find(token).is_some_and(|socket| matches!(socket.stage, Stage::Ending(_))) {
                self.close(token.key, now, false);
            }
        }
        while let Some(token) = self.lingers.expired(now) {
            if self.sockets.find(token).is_some() {
                self.sockets.remove(token.key);
            }
        }
        if self.drain_by.is_some_and(|at| at <= now) {
            self.settle(now); // what the machine has to say is written if the sockets take it at once
            for key in self.sockets.keys() {
                self.close(key, now, false);
            }
        }
    }

    /// Has the driver woken for the next deadline; `true`: it has come already.
    fn arm(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let next = [
            self.machine.poll_timeout(),
            self.accept_again,
            self.greetings.next(),
            self.endings.next(),
            self.lingers.next(),
            self.drain_by,
            self.reporter.next(),
        ];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        if next <= now {
            return true;
        }
        // A timer that wakes too early costs one turn; setting it anew for each packet would cost more.
        if self.armed.is_some_and(|armed| armed <= next) {
            return false;
        }
        let Some(at) = self.clock.at(next) else { return false };
        self.armed = Some(next);
        self.sleep.as_mut().reset(at);
        self.sleep.as_mut().poll(cx).is_ready()
    }
}
