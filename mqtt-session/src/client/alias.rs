//! Topic Aliases both ways (MQTT 5.0 section 3.3.2.3.4).
//!
//! Invariant: a mapping lives as long as one connection [MQTT-3.3.2-7].
use super::ProtocolError;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mqtt_proto::{ReasonCode, TopicName};

/// Whether, and how, outgoing topics get aliases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AliasPolicy {
    /// Never.
    #[default]
    Off,
    /// The first topics keep their aliases while the connection lasts.
    FirstCome,
    /// The topic that was not used for the longest time gives way.
    Lru,
}

/// What an outgoing PUBLISH says about its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// The topic alone.
    None,
    /// The topic, and this alias for later.
    Set(u16),
    /// This alias stands for the topic.
    Use(u16),
}

/// The aliases that we chose. Every call is O(log n).
#[derive(Debug, Default)]
pub(super) struct OutgoingAliases {
    policy: AliasPolicy,
    /// Never above the Topic Alias Maximum of CONNACK [MQTT-3.2.2-17], [MQTT-3.3.2-9]; 0 without one [MQTT-3.2.2-18].
    max: u16,
    by_topic: BTreeMap<TopicName, (u16, u64)>,
    by_use: BTreeMap<u64, TopicName>,
    tick: u64,
}

impl OutgoingAliases {
    pub(super) fn new(policy: AliasPolicy, max: u16) -> Self {
        Self { policy, max, ..Self::default() }
    }

    /// What to say about `topic`, which is then sent for sure.
    pub(super) fn choose(&mut self, topic: &TopicName) -> Alias {
        // An alias property takes three bytes: a shorter topic gains nothing.
        if self.policy == AliasPolicy::Off || self.max == 0 || topic.len() <= 3 {
            return Alias::None;
        }
        self.tick += 1;
        if let Some((alias, used)) = self.by_topic.get_mut(topic) {
            if let Some(topic) = self.by_use.remove(used) {
                self.by_use.insert(self.tick, topic);
            }
            *used = self.tick;
            return Alias::Use(*alias);
        }
        let alias = match u16::try_from(self.by_topic.len() + 1) {
            Ok(next) if next <= self.max => next, // never 0 [MQTT-3.3.2-8]
            _ if self.policy == AliasPolicy::FirstCome => return Alias::None,
            _ => match self.by_use.pop_first().and_then(|(_, oldest)| self.by_topic.remove(&oldest)) {
                Some((alias, _)) => alias,
                None => return Alias::None,
            },
        };
        self.by_topic.insert(topic.clone(), (alias, self.tick));
        self.by_use.insert(self.tick, topic.clone());
        Alias::Set(alias)
    }
}

/// The aliases that the Server chose.
#[derive(Debug, Default)]
pub(super) struct IncomingAliases {
    max: u16,
    topics: Vec<Option<TopicName>>,
}

impl IncomingAliases {
    pub(super) fn new(max: u16) -> Self {
        Self { max, topics: Vec::new() }
    }

    /// The topic of a PUBLISH with this topic and alias. Any alias from 1 to the maximum is taken [MQTT-3.3.2-10].
    pub(super) fn resolve(&mut self, topic: Option<TopicName>, alias: Option<u16>) -> Result<TopicName, ProtocolError> {
        let Some(alias) = alias else {
            return topic.ok_or(ProtocolError::new("section 3.3.2.1", "PUBLISH with neither topic nor alias"));
        };
        // [MQTT-3.3.2-8], [MQTT-3.3.2-11], [MQTT-3.1.2-26], [MQTT-3.1.2-27]
        if alias == 0 || alias > self.max {
            return Err(ProtocolError {
                reason: ReasonCode::TopicAliasInvalid,
                statement: "MQTT-3.3.2-11",
                detail: "Topic Alias is 0 or above our Topic Alias Maximum",
            });
        }
        let slot = usize::from(alias) - 1;
        if let Some(topic) = topic {
            if self.topics.len() <= slot {
                self.topics.resize(slot + 1, None);
            }
            self.topics[slot] = Some(topic.compact()); // it outlives its frame
            return Ok(topic);
        }
        self.topics.get(slot).cloned().flatten().ok_or(ProtocolError::new("section 3.3.2.3.4", "unknown Topic Alias"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::try_from(name).unwrap()
    }

    #[test]
    fn first_come_keeps_and_lru_replaces() {
        let mut first = OutgoingAliases::new(AliasPolicy::FirstCome, 2);
        let mut lru = OutgoingAliases::new(AliasPolicy::Lru, 2);
        for aliases in [&mut first, &mut lru] {
            assert_eq!(aliases.choose(&topic("t/one")), Alias::Set(1));
            assert_eq!(aliases.choose(&topic("t/two")), Alias::Set(2));
            assert_eq!(aliases.choose(&topic("t/one")), Alias::Use(1));
        }
        assert_eq!(first.choose(&topic("t/three")), Alias::None);
        assert_eq!(lru.choose(&topic("t/three")), Alias::Set(2), "t/two was used longest ago");
        assert_eq!(lru.choose(&topic("t/one")), Alias::Use(1));
        assert_eq!(lru.choose(&topic("t/two")), Alias::Set(2));
    }

    // [MQTT-3.2.2-18]
    #[test]
    fn no_maximum_means_no_alias() {
        assert_eq!(OutgoingAliases::new(AliasPolicy::Lru, 0).choose(&topic("t/one")), Alias::None);
        assert_eq!(OutgoingAliases::new(AliasPolicy::Off, 9).choose(&topic("t/one")), Alias::None);
    }

    #[test]
    fn incoming_aliases_resolve_and_are_bounded() {
        let mut aliases = IncomingAliases::new(2);
        assert_eq!(aliases.resolve(Some(topic("a")), Some(2)), Ok(topic("a")));
        assert_eq!(aliases.resolve(None, Some(2)), Ok(topic("a")));
        assert_eq!(aliases.resolve(Some(topic("b")), Some(2)), Ok(topic("b")));
        assert_eq!(aliases.resolve(None, Some(2)), Ok(topic("b")));
        assert_eq!(aliases.resolve(None, Some(1)).unwrap_err().reason, ReasonCode::ProtocolError);
        for bad in [0, 3] {
            assert_eq!(aliases.resolve(Some(topic("a")), Some(bad)).unwrap_err().reason, ReasonCode::TopicAliasInvalid);
        }
        assert_eq!(aliases.resolve(None, None).unwrap_err().reason, ReasonCode::ProtocolError);
    }
}
