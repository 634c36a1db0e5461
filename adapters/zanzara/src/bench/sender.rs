//! The script of publishers that send a given number of messages and are done when the broker has them all.
//!
//! Invariant: done means processed: with QoS 0 a ping that follows is answered, with QoS 1 and 2 every message is acknowledged as well.
use super::herd::{Script, Step};
use super::wire::{self, Frame, Stamp, Template};
use super::{MessageArgs, WINDOW, hello::Target};
use std::io;
use std::ops::Range;

/// Bytes that gather before a socket has to take them.
const GATHER: usize = 64 << 10;

struct Publisher {
    template: Template,
    /// Numbers of the topics to publish to.
    topics: Range<u64>,
    sent: u64,
    acknowledged: u64,
    pinged: bool,
    answered: bool,
}

/// Publishers that share numbered topics.
pub(super) struct Sender {
    qos: u8,
    window: u64,
    publishers: Vec<Publisher>,
}

impl Sender {
    /// `pattern` has a `#` for each digit of a topic's number; without one, all messages have the same topic.
    pub(super) fn new(target: &Target, pattern: &str, count: u64, publishers: usize, kind: Kind<'_>) -> Self {
        let Kind { message, qos, retain, empty } = kind;
        let publisher = |number: usize| {
            let stamp = Stamp { topic: pattern.to_owned(), run: target.run, publisher: number as u32 };
            let size = if empty { 0 } else { message.size };
            Publisher {
                template: Template::new(&stamp, size, qos, retain, target.protocol),
                topics: first_topic(count, number, publishers)..first_topic(count, number + 1, publishers),
                sent: 0,
                acknowledged: 0,
                pinged: false,
                answered: false,
            }
        };
        let window = message.window.unwrap_or(WINDOW);
        Self { qos, window, publishers: (0..publishers).map(publisher).collect() }
    }

    /// Messages that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.sent).sum()
    }

    /// Messages that lack an acknowledgement.
    pub(super) fn unacknowledged(&self) -> u64 {
        if self.qos == 0 {
            0
        } else {
            self.sent() - self.publishers.iter().map(|publisher| publisher.acknowledged).sum::<u64>()
        }
    }
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    pub(super) message: &'a MessageArgs,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Whether there is no payload.
    pub(super) empty: bool,
}

/// Publishers share the topics evenly.
pub(super) fn first_topic(count: u64, publisher: usize, publishers: usize) -> u64 {
    count * publisher as u64 / publishers as u64
}

impl Script for Sender {
    fn begin(&mut self, _: usize, _: &mut Vec<u8>) {}

    fn packet(&mut self, client: usize, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<Step> {
        let publisher = &mut self.publishers[client];
        if frame.kind == wire::PINGRESP {
            publisher.answered = true;
        } else {
            let (reply, last) = frame.acknowledge()?;
            out.extend(reply.into_iter().flatten());
            publisher.acknowledged += u64::from(last);
        }
        let total = publisher.topics.end - publisher.topics.start;
        let missing = self.qos > 0 && publisher.acknowledged < total;
        Ok(if publisher.answered && !missing { Step::Done } else { Step::More })
    }

    fn room(&mut self, client: usize, out: &mut Vec<u8>) {
        let publisher = &mut self.publishers[client];
        let total = publisher.topics.end - publisher.topics.start;
        let open = if self.qos == 0 { total } else { (publisher.acknowledged + self.window).min(total) };
        while publisher.sent < open && out.len() < GATHER {
            publisher.template.append(publisher.sent, publisher.topics.start + publisher.sent, out);
            publisher.sent += 1;
        }
        if publisher.sent == total && !publisher.pinged {
            publisher.pinged = true;
            out.extend_from_slice(&wire::PINGREQ);
        }
    }
}
