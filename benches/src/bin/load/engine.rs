//! All connections of one measurement, in one readiness loop.

use crate::plan::{self, Plan};
use crate::wire::{self, Template};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bytes that a publisher lets gather before it waits for its socket.
const GATHER: usize = 64 << 10;
/// Time without any arrival after which what is on its way counts as lost.
const STALL: Duration = Duration::from_secs(3);

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of an incomplete packet.
    rest: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    /// Whether it is in the list of those that have something to do.
    queued: bool,
}

struct Publisher {
    template: Template,
    sent: u64,
    acknowledged: u64,
    /// Every subscriber has all messages below this one.
    arrived: u64,
    /// How many subscribers still miss a message, by its sequence number modulo the length.
    missing: Vec<u32>,
}

/// Publishers come first in `connections`, then the subscribers.
pub(crate) struct Engine {
    plan: Plan,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    publishers: Vec<Publisher>,
    /// The next sequence number, for each subscriber and each publisher that it may hear.
    expected: Vec<Vec<u64>>,
    queue: Vec<usize>,
    scratch: Vec<u8>,
    publishing: bool,
    counts: Counts,
}

impl Engine {
    /// Connects and subscribes everything.
    pub(crate) fn connect(address: SocketAddr, plan: &Plan) -> io::Result<Self> {
        let publishers = plan.scenario.publishers();
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for number in 0..publishers + plan.scenario.subscribers() {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(&wire::connect(&format!("load-{number}"), plan.protocol))?;
            // Return code, or reason code, 0.
            if read_packet(&mut stream)?.get(1) != Some(&0) {
                return Err(io::Error::other("the broker refused a connection"));
            }
            if let Some(subscriber) = number.checked_sub(publishers) {
                stream.write_all(&wire::subscribe(&plan.scenario.filter(subscriber), plan.qos, plan.protocol))?;
                if read_packet(&mut stream)?.last() != Some(&plan.qos) {
                    return Err(io::Error::other("the broker refused a subscription"));
                }
            }
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
            connections.push(Connection { stream, rest: Vec::new(), out: Vec::new(), written: 0, queued: false });
        }
        let missing = vec![0; (plan.window as usize + 1).next_power_of_two()];
        let publishers: Vec<Publisher> = (0..publishers)
            .map(|number| Publisher {
                template: Template::new(&plan::topic(number), number, plan),
                sent: 0,
                acknowledged: 0,
                arrived: 0,
                missing: missing.clone(),
            })
            .collect();
        Ok(Self {
            expected: vec![vec![0; publishers.len()]; plan.scenario.subscribers()],
            plan: plan.clone(),
            poll,
            events: Events::with_capacity(1024),
            connections,
            publishers,
            queue: Vec::new(),
            scratch: vec![0; 1 << 20],
            publishing: true,
            counts: Counts::default(),
        })
    }

    /// Publishes and receives for a time; the counts since the start.
    pub(crate) fn work(&mut self, time: Duration) -> io::Result<Counts> {
        for number in 0..self.publishers.len() {
            self.wake(number);
        }
        let end = Instant::now() + time;
        let mut progress = (self.counts.delivered, Instant::now());
        while Instant::now() < end {
            self.turn()?;
            if progress.0 != self.counts.delivered {
                progress = (self.counts.delivered, Instant::now());
            } else if progress.1.elapsed() > STALL {
                self.give_up();
                progress.1 = Instant::now();
            }
        }
        Ok(self.counts)
    }

    /// Publishes no more, waits for what is on its way, and leaves; the final counts.
    pub(crate) fn finish(mut self) -> io::Result<Counts> {
        self.publishing = false;
        let mut progress = (self.open(), Instant::now());
        while progress.0 > 0 && progress.1.elapsed() < STALL {
            self.turn()?;
            if self.open() != progress.0 {
                progress = (self.open(), Instant::now());
            }
        }
        self.give_up();
        for connection in &mut self.connections {
            // The broker may have closed it already; what counts has been counted.
            let _ = connection.stream.write(&wire::DISCONNECT);
        }
        Ok(self.counts)
    }

    /// Messages on their way.
    fn open(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.open(self.plan.qos)).sum()
    }

    /// Counts what has not arrived as lost and makes room for more.
    fn give_up(&mut self) {
        for publisher in &mut self.publishers {
            let mask = publisher.missing.len() - 1;
            for sequence in publisher.arrived..publisher.sent {
                self.counts.lost += u64::from(std::mem::take(&mut publisher.missing[sequence as usize & mask]));
            }
            publisher.arrived = publisher.sent;
            publisher.acknowledged = publisher.sent;
        }
        for expected in &mut self.expected {
            for (next, publisher) in expected.iter_mut().zip(&self.publishers) {
                *next = publisher.sent;
            }
        }
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
        self.poll.poll(&mut events, Some(Duration::from_millis(20)))?;
        for event in &events {
            let number = event.token().0;
            if event.is_readable() {
                self.read(number)?;
            }
            if event.is_writable() {
                self.wake(number);
            }
        }
        self.events = events;
        let mut queue = std::mem::take(&mut self.queue);
        for &number in &queue {
            self.connections[number].queued = false;
            self.write(number)?;
        }
        queue.clear();
        // What was woken meanwhile stays; the list itself is used again.
        queue.append(&mut self.queue);
        self.queue = queue;
        Ok(())
    }

    fn write(&mut self, number: usize) -> io::Result<()> {
        loop {
            if self.publishing && number < self.publishers.len() {
                self.publish(number);
            }
            let connection = &mut self.connections[number];
            if !connection.flush()? || connection.out.is_empty() && !self.may_publish(number) {
                return Ok(());
            }
        }
    }

    fn may_publish(&self, number: usize) -> bool {
        let publisher = self.publishers.get(number);
        self.publishing && publisher.is_some_and(|publisher| publisher.open(self.plan.qos) < self.plan.window)
    }

    fn publish(&mut self, number: usize) {
        let publisher = &mut self.publishers[number];
        let out = &mut self.connections[number].out;
        let mask = publisher.missing.len() - 1;
        while publisher.open(self.plan.qos) < self.plan.window && out.len() < GATHER {
            publisher.template.append(publisher.sent, out);
            publisher.missing[publisher.sent as usize & mask] = self.plan.scenario.copies();
            publisher.sent += 1;
            self.counts.published += 1;
        }
    }

    /// Reads until the socket has no more. What comes is bounded by the windows, which only `turn` opens again.
    fn read(&mut self, number: usize) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = self.read_into(number, &mut scratch);
        self.scratch = scratch;
        result
    }

    fn read_into(&mut self, number: usize, scratch: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[number];
            let rest = connection.rest.len();
            if scratch.len() < 2 * rest {
                scratch.resize(4 * rest, 0);
            }
            scratch[..rest].copy_from_slice(&connection.rest);
            let length = match connection.stream.read(&mut scratch[rest..]) {
                Ok(0) => return Err(io::Error::other(format!("the broker closed connection {number}"))),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = &scratch[..rest + length];
            let used = self.packets(number, bytes)?;
            let connection = &mut self.connections[number];
            connection.rest.clear();
            connection.rest.extend_from_slice(&bytes[used..]);
            if rest + length < scratch.len() {
                return Ok(());
            }
        }
    }

    /// Handles the complete packets; how many bytes they took.
    fn packets(&mut self, number: usize, bytes: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        while let Some(frame) = wire::frame(&bytes[used..])? {
            used += frame.length;
            let reply = match frame.kind {
                wire::PUBLISH => {
                    let message = frame.message(&self.plan)?;
                    self.arrive(number - self.publishers.len(), message.publisher, message.sequence)?;
                    match message.qos {
                        0 => None,
                        1 => Some(wire::answer(wire::PUBACK, message.id)),
                        _ => Some(wire::answer(wire::PUBREC, message.id)),
                    }
                }
                wire::PUBREC => Some(wire::answer(wire::PUBREL, frame.id()?)),
                wire::PUBREL => Some(wire::answer(wire::PUBCOMP, frame.id()?)),
                wire::PUBACK | wire::PUBCOMP => {
                    frame.id()?;
                    self.publishers[number].acknowledged += 1;
                    self.wake(number);
                    None
                }
                kind => return Err(io::Error::other(format!("the broker sent a packet of type {kind}"))),
            };
            if let Some(reply) = reply {
                self.connections[number].out.extend_from_slice(&reply);
                self.wake(number);
            }
        }
        Ok(used)
    }

    /// A subscriber has a message.
    fn arrive(&mut self, subscriber: usize, number: usize, sequence: u64) -> io::Result<()> {
        let foreign = || io::Error::other("a message of nobody's arrived");
        let publisher = self.publishers.get_mut(number).ok_or_else(foreign)?;
        if sequence >= publisher.sent {
            return Err(foreign());
        }
        let mask = publisher.missing.len() - 1;
        if self.plan.scenario.ordered() {
            let next = &mut self.expected[subscriber][number];
            if sequence < *next {
                self.counts.repeated += 1;
                return Ok(());
            }
            // Order holds, so that what was skipped will not come.
            for skipped in *next..sequence {
                self.counts.lost += 1;
                publisher.missing[skipped as usize & mask] -= 1;
            }
            *next = sequence + 1;
        } else if sequence < publisher.arrived || publisher.missing[sequence as usize & mask] == 0 {
            self.counts.repeated += 1;
            return Ok(());
        }
        publisher.missing[sequence as usize & mask] -= 1;
        self.counts.delivered += 1;
        let before = publisher.arrived;
        while publisher.arrived < publisher.sent && publisher.missing[publisher.arrived as usize & mask] == 0 {
            publisher.arrived += 1;
        }
        if publisher.arrived != before {
            self.wake(number);
        }
        Ok(())
    }
}

impl Publisher {
    /// Messages that some subscriber or the acknowledgement still misses.
    fn open(&self, qos: u8) -> u64 {
        let acknowledged = if qos == 0 { self.sent } else { self.acknowledged };
        self.sent - self.arrived.min(acknowledged)
    }
}

impl Connection {
    /// Writes what is there; whether all of it went.
    fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }
}

/// The body of the next packet of a blocking socket; for the few short ones before the load.
fn read_packet(stream: &mut std::net::TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(frame) = wire::frame(&bytes)? {
            return Ok(frame.body.to_vec());
        }
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
}
