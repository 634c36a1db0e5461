//! The loop that publishes, receives and checks: one for each thread.
//!
//! Each publisher keeps at most a window of messages on their way. A message has arrived when every subscriber has it and, with QoS 1
//! and 2, its publisher the acknowledgement. So no broker is made to drop, with QoS 0 neither, and all are measured at the same depth.
//!
//! Invariant: threads share counters only; what one thread's subscribers have is told to the threads of their publishers.
use super::check::{Arrival, Mark, Order, Window};
use super::pace::{Delays, Pace};
use super::plan::{Owed, Plan};
use super::socket::Connection;
use super::wire::{self, Frame, Message, Template};
use mio::{Events, Poll, Token, Waker};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes that a publisher lets gather before it waits for its socket.
const GATHER: usize = 64 << 10;
/// The longest sleep of the loop.
const NAP: Duration = Duration::from_millis(20);
/// This close to the next message the loop no longer sleeps.
const CLOSE: Duration = Duration::from_millis(2);
const WAKER: Token = Token(usize::MAX);

/// What the loops are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Publish,
    /// Publish no more, and receive what is on its way.
    Drain,
    Stop,
}

/// Counts since the start, of one thread.
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    /// Deliveries that were new to their subscriber.
    pub(super) delivered: AtomicU64,
    /// Messages on their way, told while they drain.
    pub(super) open: AtomicU64,
}

/// What the threads have in common.
pub(super) struct Shared {
    phase: AtomicU8,
    /// How often the loops were told to wait no longer for what is on its way.
    given_up: AtomicU64,
    /// By publisher: what was sent when that happened last.
    floor: Vec<AtomicU64>,
    /// By publisher: how many messages were sent.
    sent: Vec<AtomicU64>,
    /// By thread and publisher: all messages below have arrived at all subscribers of the thread.
    arrived: Vec<Vec<AtomicU64>>,
    pub(super) counters: Vec<Counters>,
    wakers: Vec<Waker>,
}

impl Shared {
    /// Of as many threads as there are loops to wake.
    pub(super) fn new(plan: &Plan, wakers: Vec<Waker>) -> Self {
        let zeros = || (0..plan.shape.publishers()).map(|_| AtomicU64::new(0)).collect::<Vec<AtomicU64>>();
        let counters =
            || Counters { published: AtomicU64::new(0), delivered: AtomicU64::new(0), open: AtomicU64::new(u64::MAX) };
        Self {
            phase: AtomicU8::new(Phase::Publish as u8),
            given_up: AtomicU64::new(0),
            floor: zeros(),
            sent: zeros(),
            arrived: wakers.iter().map(|_| zeros()).collect(),
            counters: wakers.iter().map(|_| counters()).collect(),
            wakers,
        }
    }

    pub(super) fn sum(&self, count: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.counters.iter().fold(0, |sum, counters| sum.saturating_add(count(counters).load(Relaxed)))
    }

    pub(super) fn tell(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.wake();
    }

    /// Has the publishers go on although nothing comes.
    pub(super) fn give_up(&self) {
        for (floor, sent) in self.floor.iter().zip(&self.sent) {
            floor.store(sent.load(Relaxed), Relaxed);
        }
        self.given_up.fetch_add(1, Relaxed);
        self.wake();
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Publish,
            1 => Phase::Drain,
            _ => Phase::Stop,
        }
    }

    fn wake(&self) {
        for waker in &self.wakers {
            // A loop that cannot be woken looks within a nap.
            let _ = waker.wake();
        }
    }
}

struct Publisher {
    /// Its number among those of all threads.
    number: usize,
    template: Template,
    /// Threads whose subscribers hear it.
    heard_by: Range<usize>,
    /// Messages that it sends in all, if that is known: a pace and its end, or a count.
    total: Option<u64>,
    sent: u64,
    acknowledged: u64,
    floor: u64,
}

impl Publisher {
    /// The first message that some subscriber or the acknowledgement still misses.
    fn base(&self, shared: &Shared, qos: u8) -> u64 {
        let arrived = shared.arrived[self.heard_by.clone()].iter().map(|arrived| arrived[self.number].load(Relaxed));
        let acknowledged = if qos == 0 { self.sent } else { self.acknowledged };
        arrived.fold(acknowledged.min(self.sent), u64::min).max(self.floor)
    }
}

/// What a loop has found out.
pub(super) struct Outcome {
    /// From the moment at which a message was due to its arrival, if there is a pace.
    pub(super) delays: Delays,
    /// From the same moment to its handing over to the socket.
    pub(super) lags: Delays,
    /// When the last new message arrived.
    pub(super) last: Instant,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Messages of other runs, or for which this subscriber had not asked.
    pub(super) foreign: u64,
    pub(super) unacknowledged: u64,
}

/// When the loops began, and which time from there on is measured, in nanoseconds.
#[derive(Clone)]
pub(super) struct Clock {
    pub(super) start: Instant,
    pub(super) measured: Range<u64>,
}

/// One loop: some publishers, which come first among the connections, and some subscribers.
pub(super) struct Worker {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    thread: usize,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    publishers: Vec<Publisher>,
    /// Numbers of its own publishers.
    own: Range<usize>,
    /// Numbers of its subscribers.
    subscribers: Range<usize>,
    /// Numbers of the publishers that those hear; `windows` has one for each.
    heard: Range<usize>,
    windows: Vec<Window>,
    order: Option<Order>,
    /// Numbers of the first publishers of all threads, and whether these have news of their messages.
    threads: Vec<(usize, bool)>,
    clock: Clock,
    paces: Vec<Pace>,
    /// The next message by schedule: its sequence number and its publisher here.
    due: (u64, usize),
    /// Connections that have something to do.
    queue: Vec<usize>,
    scratch: Vec<u8>,
    phase: Phase,
    given_up: u64,
    published: u64,
    delivered: u64,
    outcome: Outcome,
}

impl Worker {
    /// `connections`: those of its publishers, then those of its subscribers.
    pub(super) fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        thread: usize,
        poll: Poll,
        mut connections: Vec<Connection>,
        clock: Clock,
    ) -> io::Result<Self> {
        for (number, connection) in connections.iter_mut().enumerate() {
            connection.register(poll.registry(), Token(number))?;
        }
        let (shape, threads) = (&plan.shape, plan.threads);
        let own = shape.publishers_of(thread, threads);
        let listeners = |publisher: usize| {
            let mut all = (0..threads).filter(|thread| shape.heard_by(*thread, threads).contains(&publisher));
            let first = all.next().unwrap_or(0);
            first..all.next_back().unwrap_or(first) + 1
        };
        let count = shape.publishers();
        let pace = |number| plan.rate.map(|rate| Pace::new(rate, number, count));
        // What is due before the end is sent, however late: whatever holds it up counts.
        let due = |number| pace(number).map(|pace| pace.allowed(clock.measured.end - 1));
        let publisher = |number: usize| Publisher {
            number,
            total: plan.count.or_else(|| due(number)),
            template: plan.template(number),
            heard_by: listeners(number),
            sent: 0,
            acknowledged: 0,
            floor: 0,
        };
        let heard = shape.heard_by(thread, threads);
        let (owed, order) = match shape.owed(thread, threads) {
            Owed::Each(count) => (count, Some(Order::new(shape.streams(thread, threads)))),
            Owed::Receivers(bits) => (bits, None),
        };
        Ok(Self {
            publishers: own.clone().map(publisher).collect(),
            subscribers: shape.subscribers_of(thread, threads),
            windows: heard.clone().map(|_| Window::new(plan.window, owed)).collect(),
            heard,
            order,
            threads: (0..threads).map(|thread| (shape.publishers_of(thread, threads).start, false)).collect(),
            paces: (0..count).filter_map(pace).collect(),
            due: (0, 0),
            queue: Vec::new(),
            scratch: Vec::new(),
            phase: Phase::Publish,
            given_up: 0,
            published: 0,
            delivered: 0,
            outcome: Outcome {
                delays: Delays::new(),
                lags: Delays::new(),
                last: clock.start,
                duplicated: 0,
                reordered: 0,
                foreign: 0,
                unacknowledged: 0,
            },
            events: Events::with_capacity(1024),
            own,
            plan,
            shared,
            thread,
            poll,
            connections,
            clock,
        })
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<Outcome> {
        self.wake_publishers();
        loop {
            self.obey();
            if self.phase == Phase::Stop {
                break;
            }
            self.turn()?;
        }
        if self.plan.qos > 0 {
            let missing = |publisher: &Publisher| publisher.sent - publisher.acknowledged.min(publisher.sent);
            self.outcome.unacknowledged += self.publishers.iter().map(missing).sum::<u64>();
        }
        for connection in self.connections {
            connection.leave();
        }
        Ok(self.outcome)
    }

    /// Sees what it was told.
    fn obey(&mut self) {
        self.phase = self.shared.phase();
        let given_up = self.shared.given_up.load(Relaxed);
        if given_up != self.given_up {
            self.given_up = given_up;
            self.give_up();
        }
        if self.phase == Phase::Drain {
            let (shared, qos) = (&self.shared, self.plan.qos);
            let all = self.publishers.iter();
            let open =
                all.map(|publisher| publisher.total.unwrap_or(publisher.sent) - publisher.base(shared, qos)).sum();
            shared.counters[self.thread].open.store(open, Relaxed);
        }
    }

    /// Makes room for more by waiting no longer for what has not come.
    fn give_up(&mut self) {
        for publisher in &mut self.publishers {
            publisher.floor = self.shared.floor[publisher.number].load(Relaxed);
            self.outcome.unacknowledged +=
                if self.plan.qos > 0 { publisher.floor - publisher.acknowledged.min(publisher.floor) } else { 0 };
            publisher.acknowledged = publisher.acknowledged.max(publisher.floor);
        }
        for (number, window) in self.heard.clone().zip(&mut self.windows) {
            window.give_up(self.shared.floor[number].load(Relaxed));
            self.shared.arrived[self.thread][number].store(window.arrived(), Relaxed);
        }
        self.wake_publishers();
    }

    fn wake_publishers(&mut self) {
        for number in 0..self.publishers.len() {
            self.wake(number);
        }
    }

    fn wake(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if !connection.queued {
            connection.queued = true;
            self.queue.push(number);
        }
    }

    /// One round of the loop: reads what there is, then publishes and writes what has become possible.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let pause = self.pause();
        match self.poll.poll(&mut events, Some(pause)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let number = event.token().0;
            if event.token() == WAKER {
                self.wake_publishers();
                continue;
            }
            if event.is_readable() {
                self.read(number)?;
            }
            if event.is_writable() {
                self.wake(number);
            }
        }
        self.events = events;
        self.wake_due();
        let mut queue = std::mem::take(&mut self.queue);
        for &number in &queue {
            self.connections[number].queued = false;
            self.write(number)?;
        }
        queue.clear();
        // What was woken meanwhile stays; the list itself is used again.
        queue.append(&mut self.queue);
        self.queue = queue;
        for (thread, (_, news)) in self.threads.iter_mut().enumerate() {
            if std::mem::take(news) {
                self.shared.wakers[thread].wake()?;
            }
        }
        Ok(())
    }

    fn elapsed(&self) -> u64 {
        self.clock.start.elapsed().as_nanos() as u64
    }

    /// The time of the next message, if there is a pace.
    fn next_due(&self) -> Option<u64> {
        let (sequence, publisher) = self.due;
        let pace = self.paces.get(self.own.start + publisher)?;
        let more = self.publishers.get(publisher)?.total.is_none_or(|total| sequence < total);
        more.then(|| pace.due(sequence))
    }

    /// How long to wait for sockets.
    fn pause(&self) -> Duration {
        let Some(due) = self.next_due() else { return NAP };
        let wait = Duration::from_nanos(due.saturating_sub(self.elapsed()));
        if !self.plan.spin {
            return wait.min(NAP);
        }
        wait.saturating_sub(CLOSE).min(NAP)
    }

    /// Wakes the publishers whose messages have become due.
    fn wake_due(&mut self) {
        while self.next_due().is_some_and(|due| due <= self.elapsed()) {
            self.wake(self.due.1);
            self.due.1 += 1;
            if self.due.1 == self.publishers.len() {
                self.due = (self.due.0 + 1, 0);
            }
        }
    }

    fn write(&mut self, number: usize) -> io::Result<()> {
        loop {
            let publishes = number < self.publishers.len() && (self.phase == Phase::Publish || !self.paces.is_empty());
            let more = publishes && self.publish(number);
            let connection = &mut self.connections[number];
            if !connection.flush()? || !more {
                return Ok(());
            }
        }
    }

    /// Appends what the publisher may send; whether it stopped for want of room only.
    fn publish(&mut self, number: usize) -> bool {
        let publisher = &mut self.publishers[number];
        let out = &mut self.connections[number].out;
        let (first, plan) = (publisher.sent, &self.plan);
        let mut limit = publisher.base(&self.shared, plan.qos) + plan.window;
        limit = limit.min(publisher.total.unwrap_or(u64::MAX));
        let now = match self.paces.get(publisher.number) {
            Some(pace) => {
                let now = self.clock.start.elapsed().as_nanos() as u64;
                limit = limit.min(pace.allowed(now));
                now
            }
            None => 0,
        };
        while publisher.sent < limit && out.len() < GATHER {
            publisher.template.append(publisher.sent, plan.topic(publisher.number, publisher.sent), out);
            publisher.sent += 1;
        }
        self.published += publisher.sent - first;
        self.shared.counters[self.thread].published.store(self.published, Relaxed);
        self.shared.sent[publisher.number].store(publisher.sent, Relaxed);
        if let Some(pace) = self.paces.get(publisher.number) {
            for due in (first..publisher.sent).map(|sequence| pace.due(sequence)) {
                if self.clock.measured.contains(&due) {
                    self.outcome.lags.record(due, now);
                }
            }
        }
        publisher.sent < limit
    }

    /// Reads until the socket has no more. What comes is bounded by the windows, which only `turn` opens again.
    fn read(&mut self, number: usize) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = self.read_into(number, &mut scratch);
        self.scratch = scratch;
        result
    }

    fn read_into(&mut self, number: usize, scratch: &mut Vec<u8>) -> io::Result<()> {
        while let Some(input) = self.connections[number].fill(scratch)? {
            let now = Instant::now();
            let delivered = self.delivered;
            let used = self.packets(number, &scratch[..input.length], now)?;
            if self.delivered != delivered {
                self.outcome.last = now;
                // Told at once, since a turn through thousands of connections is long.
                self.shared.counters[self.thread].delivered.store(self.delivered, Relaxed);
            }
            self.connections[number].keep(&scratch[used..input.length]);
            if !input.more {
                break;
            }
        }
        Ok(())
    }

    /// Handles the complete packets; how many bytes they took.
    fn packets(&mut self, number: usize, bytes: &[u8], now: Instant) -> io::Result<usize> {
        let mut used = 0;
        while let Some(frame) = wire::frame(&bytes[used..])? {
            used += frame.length;
            let reply = if frame.kind == wire::PUBLISH {
                let message = frame.message(self.plan.size, self.plan.protocol)?;
                self.receive(number, &message, now)?;
                message.reply()
            } else {
                self.acknowledge(number, &frame)?
            };
            if let Some(reply) = reply {
                self.connections[number].out.extend_from_slice(&reply);
                self.wake(number);
            }
        }
        Ok(used)
    }

    fn acknowledge(&mut self, number: usize, frame: &Frame<'_>) -> io::Result<Option<[u8; 4]>> {
        let (reply, last) = frame.acknowledge()?;
        if last {
            let publisher = self.publishers.get_mut(number).ok_or_else(|| frame.unexpected(frame.kind))?;
            publisher.acknowledged += 1;
            self.wake(number);
        }
        Ok(reply)
    }

    fn receive(&mut self, number: usize, message: &Message, now: Instant) -> io::Result<()> {
        let subscriber = self.subscribers.start
            + number.checked_sub(self.publishers.len()).ok_or_else(|| io::Error::other("a publisher got a message"))?;
        let publisher = message.stamp.filter(|stamp| stamp.run == self.plan.run);
        let publisher = publisher.map(|stamp| (stamp.publisher as usize, stamp.sequence));
        // What was not sent cannot come.
        let known = |(publisher, sequence): &(usize, u64)| {
            self.heard.contains(publisher) && *sequence < self.shared.sent[*publisher].load(Relaxed)
        };
        let Some((publisher, sequence)) = publisher.filter(known) else {
            self.outcome.foreign += 1;
            return Ok(());
        };
        if self.arrive(subscriber, publisher, sequence) {
            self.delivered += 1;
            if let Some(pace) = self.paces.get(publisher) {
                let due = pace.due(sequence);
                if self.clock.measured.contains(&due) {
                    self.outcome.delays.record(due, now.duration_since(self.clock.start).as_nanos() as u64);
                }
            }
        }
        Ok(())
    }

    /// A subscriber has a message; whether it is new to it.
    fn arrive(&mut self, subscriber: usize, publisher: usize, sequence: u64) -> bool {
        let window = &mut self.windows[publisher - self.heard.start];
        let before = window.arrived();
        if let Some(order) = &mut self.order {
            let Some(stream) = self.plan.shape.stream(subscriber, self.subscribers.start, publisher) else {
                self.outcome.foreign += 1;
                return false;
            };
            match order.arrive(stream, sequence) {
                Arrival::Next => {}
                // Where order holds they will not come; where it does not, they count when they do.
                Arrival::Skipped(skipped) => skipped.for_each(|sequence| window.count(sequence)),
                Arrival::Late => {
                    self.outcome.reordered += u64::from(self.plan.ordered());
                    return true;
                }
                Arrival::Duplicate => {
                    self.outcome.duplicated += 1;
                    return false;
                }
            }
            window.count(sequence);
        } else {
            let topic = self.plan.topic(publisher, sequence);
            let Some(receiver) = self.plan.shape.receiver(subscriber, topic) else {
                self.outcome.foreign += 1;
                return false;
            };
            match window.mark(sequence, receiver) {
                Mark::New => {}
                Mark::Again => {
                    self.outcome.duplicated += 1;
                    return false;
                }
                Mark::TooLate => return false,
            }
        }
        let arrived = window.arrived();
        if arrived != before {
            self.shared.arrived[self.thread][publisher].store(arrived, Relaxed);
            if self.own.contains(&publisher) {
                self.wake(publisher - self.own.start);
            } else {
                let thread = self.threads.partition_point(|(first, _)| *first <= publisher) - 1;
                self.threads[thread].1 = true;
            }
        }
        true
    }
}

/// A poll, and what wakes it.
pub(super) fn poll() -> io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    Ok((poll, waker))
}
