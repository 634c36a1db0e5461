//! Many connections that each run through the same short script: connect, subscribe, ping, drain.
//!
//! Invariant: no client of a phase is forgotten: it is done, has failed, or hangs.
use super::pace::{Delays, Pace};
use super::progress::Progress;
use super::socket::Connection;
use super::wire::{self, Frame};
use mio::{Events, Poll, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Time without any progress after which what is not done hangs.
const STALL: Duration = Duration::from_secs(15);

/// Where a client is after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do.
    More,
    /// The phase is over for it; it stays connected.
    Done,
    /// The phase is over for it once the broker has closed the connection upon DISCONNECT.
    Leave,
}

/// What each client does in a phase.
pub(super) trait Script {
    /// The first bytes of a client. It may be connected already.
    fn begin(&mut self, client: usize, out: &mut Vec<u8>);

    /// A packet arrived; what is appended to `out` is sent.
    fn packet(&mut self, client: usize, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<Step>;

    /// All bytes were written: here is room for more.
    fn room(&mut self, _client: usize, _out: &mut Vec<u8>) {}
}

/// How fast the clients of a phase follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Clients that are not done, at most.
    pub(super) at_once: usize,
    /// Clients that begin in a second, at most.
    pub(super) rate: Option<f64>,
}

/// How a phase ended.
pub(super) struct Phase {
    /// Clients that are done.
    pub(super) done: usize,
    /// Clients that failed, and why the first of them did.
    pub(super) failed: usize,
    pub(super) why: Option<io::Error>,
    /// Clients that hang.
    pub(super) hanging: usize,
    /// From the begin of the first client to the last packet, or the last client that left.
    pub(super) elapsed: Duration,
    /// How long each client took.
    pub(super) delays: Delays,
}

impl Phase {
    /// Says on standard error why clients failed.
    pub(super) fn tell(&self, what: &str) {
        if let Some(why) = &self.why {
            eprintln!("zanzara: {what}: {} failed, the first because: {why}", self.failed);
        }
        if self.hanging > 0 {
            eprintln!("zanzara: {what}: {} without an answer", self.hanging);
        }
    }

    /// Nobody may have failed or hang.
    pub(super) fn complete(mut self, what: &str) -> io::Result<Self> {
        match (self.why.take(), self.hanging) {
            (Some(error), _) => Err(io::Error::new(error.kind(), format!("{what}: {error}"))),
            (None, 0) => Ok(self),
            (None, hanging) => Err(io::Error::other(format!("{what}: no answer on {hanging} connections"))),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in this phase, or done.
    Idle,
    Busy,
    /// DISCONNECT is sent.
    Leaving,
}

struct Member {
    connection: Connection,
    state: State,
    began: Instant,
}

/// Connections by the number of their client.
pub(super) struct Herd {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    members: Vec<Option<Box<Member>>>,
    scratch: Vec<u8>,
}

impl Herd {
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            address,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            members: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// The clients that are connected.
    pub(super) fn connected(&self) -> Vec<usize> {
        let all = self.members.iter().enumerate();
        all.filter_map(|(client, member)| member.as_ref().map(|_| client)).collect()
    }

    /// Runs some clients through a script. An error is one of this machine; those of single clients are counted.
    pub(super) fn run(
        &mut self,
        clients: impl IntoIterator<Item = usize>,
        entry: Entry,
        script: &mut impl Script,
        progress: &mut Progress,
    ) -> io::Result<Phase> {
        let clients: Vec<usize> = clients.into_iter().collect();
        let total = clients.len();
        let mut run = Run {
            start: Instant::now(),
            last: Instant::now(),
            busy: 0,
            phase: Phase { done: 0, failed: 0, why: None, hanging: 0, elapsed: Duration::ZERO, delays: Delays::new() },
        };
        let pace = entry.rate.map(|rate| Pace::new(rate, 0, 1));
        let mut begun = 0;
        loop {
            let nanoseconds = run.start.elapsed().as_nanos() as u64;
            let allowed = pace.map_or(total, |pace| pace.allowed(nanoseconds) as usize);
            while run.busy < entry.at_once && begun < total.min(allowed) {
                self.begin(clients[begun], script, &mut run);
                begun += 1;
            }
            if run.busy == 0 && begun == total {
                break;
            }
            if run.busy > 0 && run.last.elapsed() > STALL {
                run.phase.hanging = run.busy + total - begun;
                break;
            }
            let pause = if pace.is_some() { Duration::from_millis(1) } else { Duration::from_millis(20) };
            self.turn(pause, script, &mut run)?;
            progress.show(|| format!("{} of {total}", run.phase.done));
        }
        Ok(run.phase)
    }

    fn begin(&mut self, client: usize, script: &mut impl Script, run: &mut Run) {
        run.busy += 1;
        run.last = Instant::now();
        if self.members.len() <= client {
            self.members.resize_with(client + 1, || None);
        }
        let member = match self.members[client].take() {
            Some(member) => Ok(member),
            None => self.open(client),
        };
        match member {
            Ok(mut member) => {
                member.state = State::Busy;
                member.began = Instant::now();
                script.begin(client, &mut member.connection.out);
                self.members[client] = Some(member);
                self.write(client, script, run);
            }
            Err(error) => run.fail(State::Busy, error),
        }
    }

    fn open(&mut self, client: usize) -> io::Result<Box<Member>> {
        let mut connection = Connection::open(self.address)?;
        connection.register(self.poll.registry(), Token(client))?;
        Ok(Box::new(Member { connection, state: State::Idle, began: Instant::now() }))
    }

    fn turn(&mut self, pause: Duration, script: &mut impl Script, run: &mut Run) -> io::Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = match self.poll.poll(&mut events, Some(pause)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        };
        for event in &events {
            let client = event.token().0;
            if event.is_readable() || event.is_error() {
                self.read(client, script, run);
            }
            self.write(client, script, run);
        }
        self.events = events;
        result
    }

    fn read(&mut self, client: usize, script: &mut impl Script, run: &mut Run) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(member) = &mut self.members[client] {
            let more = match member.connection.fill(&mut scratch) {
                Ok(None) => break,
                Ok(Some(input)) => member.packets(client, &scratch[..input.length], script, run).map(|()| input.more),
                Err(error) => Err(error),
            };
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.remove(client, error, run),
            }
        }
        self.scratch = scratch;
    }

    fn write(&mut self, client: usize, script: &mut impl Script, run: &mut Run) {
        while let Some(member) = &mut self.members[client] {
            match member.connection.flush() {
                Ok(true) if member.state == State::Busy => {
                    script.room(client, &mut member.connection.out);
                    if member.connection.out.is_empty() {
                        return;
                    }
                    run.last = Instant::now();
                }
                Ok(_) => return,
                Err(error) => self.remove(client, error, run),
            }
        }
    }

    /// A connection has ended.
    fn remove(&mut self, client: usize, error: io::Error, run: &mut Run) {
        if let Some(mut member) = self.members[client].take() {
            let _ = member.connection.deregister(self.poll.registry());
            let closed = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
            if member.state == State::Leaving && (closed || error.kind() == ErrorKind::BrokenPipe) {
                run.done(&member);
            } else {
                run.fail(member.state, error);
            }
        }
    }

    /// Closes the connections of some clients.
    pub(super) fn close(&mut self, clients: Range<usize>) {
        for member in self.members[clients].iter_mut().filter_map(Option::take) {
            member.connection.leave();
        }
    }

    /// Gives the connections away, in the order of their clients.
    pub(super) fn into_connections(mut self) -> io::Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for mut member in self.members.drain(..).flatten() {
            member.connection.deregister(self.poll.registry())?;
            connections.push(member.connection);
        }
        Ok(connections)
    }

    /// Says good-bye on all connections.
    pub(super) fn leave(mut self) {
        for member in self.members.drain(..).flatten() {
            member.connection.leave();
        }
    }
}

/// A phase while it runs.
struct Run {
    start: Instant,
    /// When something last came about.
    last: Instant,
    busy: usize,
    phase: Phase,
}

impl Run {
    fn done(&mut self, member: &Member) {
        self.busy -= 1;
        self.phase.done += 1;
        self.phase.delays.record_time(member.began.elapsed());
        self.phase.elapsed = self.start.elapsed();
    }

    fn fail(&mut self, state: State, error: io::Error) {
        if state != State::Idle {
            self.busy -= 1;
        }
        self.phase.failed += 1;
        self.phase.why.get_or_insert(error);
    }
}

impl Member {
    fn packets(&mut self, client: usize, bytes: &[u8], script: &mut impl Script, run: &mut Run) -> io::Result<()> {
        let mut used = 0;
        while let Some(frame) = wire::frame(&bytes[used..])? {
            used += frame.length;
            let step = script.packet(client, &frame, &mut self.connection.out)?;
            run.last = Instant::now();
            match step {
                Step::Done if self.state == State::Busy => {
                    self.state = State::Idle;
                    run.done(self);
                }
                Step::Leave if self.state == State::Busy => {
                    self.state = State::Leaving;
                    self.connection.out.extend_from_slice(&wire::DISCONNECT);
                }
                _ => {}
            }
        }
        run.phase.elapsed = run.start.elapsed();
        self.connection.keep(&bytes[used..]);
        Ok(())
    }
}
