//! Streams of received messages, and who gets what.
//!
//! Invariants: each message goes to every subscription stream whose filter matches, or else to the client-wide streams; no stream holds more than
//! its capacity.
use futures_core::Stream;
use mqtt_session::client::{Event, Received};
use mqtt_session::proto::{ReasonCode, TopicFilter};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{broadcast, mpsc};

/// What happens to a message whose stream is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lagging {
    /// It waits, with all that come behind it; when the client's own buffers are full too, it stops reading from the socket, and the server has to
    /// wait or to drop. Nothing is lost here (but see [`wants_read`](mqtt_session::client::Client::wants_read) about QoS 0 while an
    /// acknowledgment is awaited).
    #[default]
    Wait,
    /// That stream misses it; the client counts it ([`Client::lagged`](super::Client::lagged)).
    Drop,
}

/// A stream of messages. Ends when the client does. Dropping it loses what it holds.
#[derive(Debug)]
pub struct Messages {
    pub(super) receiver: mpsc::Receiver<Received>,
}

impl Messages {
    /// The next message; `None` when the client has ended. Cancel-safe: no message is lost.
    pub async fn recv(&mut self) -> Option<Received> {
        self.receiver.recv().await
    }

    /// The next message if one is there already.
    pub fn try_recv(&mut self) -> Option<Received> {
        self.receiver.try_recv().ok()
    }
}

impl Stream for Messages {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.receiver.poll_recv(cx)
    }
}

/// The messages of the filters of one [`Client::subscribe`](super::Client::subscribe). Dropping it does not unsubscribe: the messages then go to
/// the client-wide streams.
#[derive(Debug)]
pub struct Subscription {
    pub(super) messages: Messages,
    pub(super) granted: Vec<(TopicFilter, ReasonCode)>,
}

impl Subscription {
    /// The next message; `None` when the client has ended. Cancel-safe: no message is lost.
    pub async fn recv(&mut self) -> Option<Received> {
        self.messages.recv().await
    }

    /// The next message if one is there already.
    pub fn try_recv(&mut self) -> Option<Received> {
        self.messages.try_recv()
    }

    /// The filters, each with the QoS that the server granted.
    pub fn granted(&self) -> &[(TopicFilter, ReasonCode)] {
        &self.granted
    }
}

impl Stream for Subscription {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        Pin::new(&mut self.messages).poll_next(cx)
    }
}

/// A stream of what happens to the client's connection.
#[derive(Debug)]
pub struct Events {
    pub(super) receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; `None` when the client has ended. Cancel-safe. A receiver that stays more than 256 events behind misses the oldest.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Who gets what.
#[derive(Debug)]
pub(super) struct Routes {
    list: Vec<Route>,
    next_id: u64,
    capacity: usize,
    lagging: Lagging,
    /// Messages for client-wide streams while there never was one.
    unclaimed: Option<VecDeque<Received>>,
    pub(super) lagged: u64,
    closed: bool,
}

#[derive(Debug)]
struct Route {
    id: u64,
    /// None: client-wide.
    filters: Vec<TopicFilter>,
    sender: mpsc::Sender<Received>,
}

/// A message for which at least one stream has no room.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) message: Received,
    pub(super) senders: Vec<mpsc::Sender<Received>>,
}

impl Routes {
    pub(super) fn new(capacity: usize, lagging: Lagging) -> Self {
        let capacity = capacity.max(1);
        Self {
            list: Vec::new(),
            next_id: 0,
            capacity,
            lagging,
            unclaimed: Some(VecDeque::new()),
            lagged: 0,
            closed: false,
        }
    }

    /// Adds a stream; without filters a client-wide one, of which the first gets what came before.
    pub(super) fn add(&mut self, filters: Vec<TopicFilter>) -> (u64, Messages) {
        let (sender, receiver) = mpsc::channel(self.capacity);
        if self.closed {
            return (0, Messages { receiver });
        }
        if filters.is_empty() {
            for message in self.unclaimed.take().into_iter().flatten() {
                let _ = sender.try_send(message); // never more than the capacity
            }
        }
        self.next_id += 1;
        self.list.push(Route { id: self.next_id, filters, sender });
        (self.next_id, Messages { receiver })
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.list.retain(|route| route.id != id);
    }

    /// Every stream ends, behind what it holds.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.list.clear();
    }

    /// Hands a message out. What finds no room comes back, if it is to wait.
    pub(super) fn deliver(&mut self, message: Received) -> Option<Blocked> {
        self.list.retain(|route| !route.sender.is_closed());
        let topic = message.topic.as_str();
        let matching = |route: &Route| route.filters.iter().any(|filter| topic_trie::matches(filter.filter(), topic));
        let mut senders: Vec<_> = self.list.iter().filter(|route| matching(route)).map(|route| &route.sender).collect();
        if senders.is_empty() {
            senders = self.list.iter().filter(|route| route.filters.is_empty()).map(|route| &route.sender).collect();
        }
        let mut full = Vec::new();
        let claimed = !senders.is_empty();
        for sender in senders {
            match sender.try_send(message.clone()) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(_)) if self.lagging == Lagging::Drop => self.lagged += 1,
                Err(mpsc::error::TrySendError::Full(_)) => full.push(sender.clone()),
            }
        }
        if !claimed {
            self.keep_unclaimed(message);
            return None;
        }
        (!full.is_empty()).then_some(Blocked { message, senders: full })
    }

    /// Nobody listens, and perhaps nobody will: the oldest gives way, so that the connection goes on.
    fn keep_unclaimed(&mut self, message: Received) {
        let Some(unclaimed) = &mut self.unclaimed else {
            self.lagged += 1;
            return;
        };
        if unclaimed.len() == self.capacity {
            if self.lagged == 0 {
                tracing::warn!(
                    "messages arrive that no stream takes: call `Client::messages`, or keep the `Subscription`"
                );
            }
            unclaimed.pop_front();
            self.lagged += 1;
        }
        unclaimed.push_back(message);
    }
}
