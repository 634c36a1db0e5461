//! Retained messages (section 3.3.1.3).
//!
//! Invariant: a topic has at most one, the last that was accepted; those that expire leave at their time.
use super::route::Outgoing;
use super::timers::Timer;
use super::{Broker, Message, StoreOp};
use crate::Instant;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use mqtt_proto::{ReasonCode, TopicName};
use topic_trie::{RetainedStore, Seed};

/// The retained messages, and when they expire.
#[derive(Debug)]
pub(super) struct Retained {
    pub(super) topics: RetainedStore<Arc<Message>>,
    expiries: BTreeSet<(Instant, TopicName)>,
    /// When the timer is armed for: never later than the first expiry.
    armed: Option<Instant>,
}

impl Retained {
    pub(super) fn new(seed: Seed) -> Self {
        Self { topics: RetainedStore::new(seed), expiries: BTreeSet::new(), armed: None }
    }
}

impl Broker {
    /// Keeps or clears the retained message of a topic, as RETAIN and payload say.
    pub(super) fn retain(&mut self, outgoing: &mut Outgoing) -> Result<(), ReasonCode> {
        if !outgoing.retain {
            return Ok(()); // [MQTT-3.3.1-8]: nothing that is kept changes
        }
        if outgoing.shared.payload.is_empty() {
            // [MQTT-3.3.1-6], [MQTT-3.3.1-7]; [3.1.1: MQTT-3.3.1-10], [3.1.1: MQTT-3.3.1-11]
            let topic = outgoing.shared.topic.clone();
            self.clear_retained(&topic);
            return Ok(());
        }
        let topics = &self.retained.topics;
        let full = topics.len() >= self.config.max_retained_messages;
        if full && topics.get(&outgoing.shared.topic).is_none() {
            return Err(ReasonCode::QuotaExceeded);
        }
        let message = outgoing.keep();
        if !self.find_room(message.cost()) && !outgoing.on_top {
            return Err(ReasonCode::QuotaExceeded);
        }
        self.stats.memory_bytes += message.cost();
        if let Some(at) = message.expires_at {
            self.retained.expiries.insert((at, message.topic.clone()));
            self.arm_retained();
        }
        self.store.push(StoreOp::Retained(outgoing.id, message.clone()));
        let topic = message.topic.clone();
        // [MQTT-3.3.1-5]; [3.1.1: MQTT-3.3.1-5], [3.1.1: MQTT-3.3.1-7]
        let replaced = self.retained.topics.insert(&topic, message);
        if let Ok(Some(old)) = replaced {
            self.stats.memory_bytes -= old.cost();
            if let Some(at) = old.expires_at {
                self.forget_expiry(at, old.topic.clone());
            }
        }
        Ok(())
    }

    /// Keeps a message of the broker's own, which is made anew after a restart.
    pub(super) fn retain_volatile(&mut self, outgoing: &mut Outgoing) {
        let message = outgoing.keep();
        let topic = message.topic.clone();
        self.stats.memory_bytes += message.cost();
        let kept = self.retained.topics.insert(&topic, message);
        debug_assert!(kept.is_ok(), "a TopicName is a valid topic");
        self.stats.memory_bytes -= kept.ok().flatten().map_or(0, |old| old.cost());
    }

    /// Keeps a message that the store has kept.
    pub(super) fn restore_retained(&mut self, message: Arc<Message>) {
        self.stats.memory_bytes += message.cost();
        if let Some(at) = message.expires_at {
            self.retained.expiries.insert((at, message.topic.clone()));
            self.arm_retained();
        }
        let topic = message.topic.clone();
        let kept = self.retained.topics.insert(&topic, message);
        debug_assert!(kept.is_ok(), "a TopicName is a valid topic");
    }

    /// One timer for all of them: it fires at the first expiry, or earlier for one that was replaced.
    fn arm_retained(&mut self) {
        let Some((first, _)) = self.retained.expiries.first() else { return };
        if self.retained.armed.is_some_and(|armed| armed <= *first) {
            return;
        }
        if let Some(armed) = self.retained.armed.replace(*first) {
            self.timers.disarm(armed, Timer::Retained);
        }
        self.timers.arm(*first, Timer::Retained);
    }

    fn clear_retained(&mut self, topic: &TopicName) {
        if let Some(old) = self.retained.topics.remove(topic) {
            self.stats.memory_bytes -= old.cost();
            if let Some(at) = old.expires_at {
                self.forget_expiry(at, old.topic.clone());
            }
            self.store.push(StoreOp::RetainedEnd(old.topic.clone()));
        }
    }

    /// The expiry of a message that was replaced; one at the very same time for the new message stays.
    fn forget_expiry(&mut self, at: Instant, topic: TopicName) {
        let current = self.retained.topics.get(&topic).and_then(|message| message.expires_at);
        if current != Some(at) {
            self.retained.expiries.remove(&(at, topic));
        }
    }

    /// Removes the retained messages whose time is over [MQTT-3.3.2-5].
    pub(super) fn expire_retained(&mut self) {
        self.retained.armed = None;
        while let Some((at, topic)) = self.retained.expiries.first().cloned()
            && at <= self.now
        {
            self.retained.expiries.pop_first();
            let expired = self.retained.topics.get(&topic).is_some_and(|message| message.is_expired(self.now));
            if expired {
                self.clear_retained(&topic);
            }
        }
        self.arm_retained();
    }
}
