//! The broker machine fed raw bytes on several connections, in pieces as the network cuts them (MQTT 5.0 section 4.8).
//!
//! What must hold: calls come to an end; whatever the broker sends is well-formed; a closed connection takes nothing more;
//! the same input gives the same output.
use bytes::BytesMut;
use mqtt_session::broker::{Broker, Completion, Config, ConnId, Greeting, Output, Peer, Request};
use mqtt_session::proto::{Decoder, Version};
use mqtt_session::{Instant, UnixTime};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

const SLOTS: usize = 3;

/// Feeds the bytes: each piece is a byte that names the connection (and, with the top bit, lets time pass before), a length
/// and that many bytes.
///
/// # Panics
/// Where a promise is broken.
pub fn broker_bytes(data: &[u8]) {
    assert_eq!(run(data), run(data), "the same input, another output");
}

fn run(mut data: &[u8]) -> String {
    let now = Instant::from_secs(1);
    let mut config = Config { max_queued_bytes: 64 << 10, sys_interval: Duration::ZERO, ..Config::default() };
    config.connection.max_packet_size = 2048;
    let mut world = World {
        broker: Broker::new(Arc::new(config.clone()), [7; 32], now, UnixTime::from_millis(0)),
        config,
        now,
        lines: [const { Line::Idle }; SLOTS],
        said: String::new(),
    };
    while let [control, length, rest @ ..] = data {
        let (piece, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        if control & 0x80 != 0 {
            world.wait(Duration::from_millis(u64::from(control & 0x7F) * 500));
        }
        world.feed(usize::from(control & 0x7F) % SLOTS, piece);
        world.settle();
    }
    world.said
}

struct World {
    broker: Broker,
    config: Config,
    now: Instant,
    lines: [Line; SLOTS],
    said: String,
}

/// A connection, from its first byte to its end; then a new one begins.
enum Line {
    Idle,
    Greeting(Greeting, BytesMut),
    Open { id: ConnId, unread: BytesMut, received: BytesMut, decoder: Decoder },
}

impl World {
    fn feed(&mut self, slot: usize, piece: &[u8]) {
        let line = &mut self.lines[slot];
        if matches!(line, Line::Idle) {
            *line = Line::Greeting(Greeting::new(&self.config, self.now), BytesMut::new());
        }
        match line {
            Line::Idle => {}
            Line::Greeting(greeting, unread) => {
                unread.extend_from_slice(piece);
                match greeting.handle_input(unread) {
                    Ok(None) => {}
                    Err(refusal) => {
                        let _ = writeln!(self.said, "{slot}: {refusal:?}");
                        *line = Line::Idle;
                    }
                    Ok(Some(connect)) => {
                        let version: Version = connect.version;
                        let id = self.broker.handle_open(self.now, Peer::default(), connect);
                        let (unread, received) = (unread.split(), BytesMut::new());
                        *line = Line::Open { id, unread, received, decoder: Decoder::client(version, u32::MAX) };
                        self.read(slot);
                    }
                }
            }
            Line::Open { unread, .. } => {
                unread.extend_from_slice(piece);
                self.read(slot);
            }
        }
    }

    fn read(&mut self, slot: usize) {
        if let Line::Open { id, unread, .. } = &mut self.lines[slot] {
            self.broker.handle_input(self.now, *id, unread);
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut calls = 0;
        while let Some(due) = self.broker.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.broker.handle_timeout(self.now);
            self.settle();
            calls += 1;
            assert!(calls < 10_000, "deadlines do not end");
        }
        self.now = until;
    }

    fn settle(&mut self) {
        let mut turns = 0;
        while let Some(output) = self.broker.poll_output() {
            turns += 1;
            assert!(turns < 100_000, "outputs do not end");
            match output {
                Output::Writable(id) => self.write(id),
                Output::Readable(id) => {
                    if let Some(slot) = self.slot(id) {
                        self.read(slot);
                    }
                }
                Output::Close(id) => {
                    self.write(id);
                    if let Some(slot) = self.slot(id) {
                        self.lines[slot] = Line::Idle;
                    }
                    self.broker.handle_closed(self.now, id);
                }
                Output::Request(Request::Store(batch)) => {
                    self.broker.handle_completion(self.now, Completion::Stored { upto: batch.seq });
                }
                other => {
                    let _ = writeln!(self.said, "{other:?}");
                }
            }
        }
    }

    fn slot(&self, wanted: ConnId) -> Option<usize> {
        self.lines.iter().position(|line| matches!(line, Line::Open { id, .. } if *id == wanted))
    }

    fn write(&mut self, wanted: ConnId) {
        let Some(slot) = self.slot(wanted) else { return };
        let Line::Open { received, decoder, .. } = &mut self.lines[slot] else { return };
        let mut taken = 0;
        for chunk in self.broker.transmit(wanted).chunks() {
            received.extend_from_slice(chunk);
            taken += chunk.len();
        }
        self.broker.transmitted(self.now, wanted, taken);
        while let Some(packet) = decoder.decode(received).expect("the broker sends well-formed packets") {
            let _ = writeln!(self.said, "{slot}: {packet:?}");
        }
    }
}
