//! The `$SYS` topics: what a broker tells about itself, as retained messages that nobody else can publish.
//!
//! | topic below `$SYS/{id}/` | payload |
//! |---|---|
//! | `version` | text |
//! | `started_at` | milliseconds since 1970-01-01 UTC |
//! | `uptime` | seconds |
//! | `clients/connected`, `clients/maximum`, `clients/total` | connections now, most at once, accepted since the start |
//! | `clients/disconnected`, `clients/expired` | sessions without a connection now, sessions expired since the start |
//! | `sessions/count`, `subscriptions/count` | now |
//! | `retained messages/count` | now |
//! | `messages/queued`, `messages/queued/bytes`, `messages/inflight` | now |
//! | `messages/spilled`, `messages/spilled/bytes` | of the queued ones: those that only the store has, now |
//! | `messages/memory/bytes` | bytes of messages in memory now ([`Stats::memory_bytes`]) |
//! | `store/state` | `ok`, or `failing` while the store does not keep changes or cannot be read; told at once |
//! | `store/failures`, `store/loads`, `store/loads/failed` | batches not kept, parts of logs asked for, and not given, since the start |
//! | `publish/received`, `publish/sent` | PUBLISH packets since the start |
//! | `packets/received`, `packets/sent` | packets since the start |
//! | `bytes/received`, `bytes/sent` | bytes since the start |
//! | `publish/dropped` | deliveries that a limit cost a receiver since the start |
//! | `publish/refused` | publishes refused for want of memory since the start |
//! | `memory` | bytes of memory that the process holds, as last told by [`Broker::set_process_memory`] |
//! | `load/connections/{1,5,15}min`, `load/publish/received/{1,5,15}min`, `load/publish/sent/{1,5,15}min` | per minute, decaying averages |
//! | `new/clients`, `disconnect/clients`, `new/subscribes`, `new/unsubscribes` | as it happens: the Client Identifier; for the last two a tab and the Topic Filter follow. Not retained |
//!
//! Invariant: published every `sys_interval`; a value that has not changed is not published again.
use super::route::Outgoing;
use super::timers::Timer;
use super::{Broker, Event, EventMask, Stats};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use mqtt_proto::{Properties, QoS, SharedPublish, TopicName};

/// What is remembered between two rounds.
#[derive(Debug, Default)]
pub(super) struct Sys {
    published: BTreeMap<String, String>,
    last: Stats,
    pub(super) process_memory: Option<u64>,
    averages: [[f64; 3]; 3],
}

/// The events that `$SYS` tells of, whether they are reported to the embedder or not.
pub(super) const TOLD: EventMask =
    EventMask { connections: true, subscriptions: true, published: false, delivered: false, dropped: false };

/// Minutes of the decaying averages.
const MINUTES: [f64; 3] = [1.0, 5.0, 15.0];

impl Broker {
    /// Arms the next round.
    pub(super) fn arm_sys(&mut self) {
        if !self.config.sys_interval.is_zero() {
            self.timers.arm(self.now + self.config.sys_interval, Timer::Sys);
        }
    }

    /// Publishes what has changed.
    pub(super) fn publish_sys(&mut self) {
        let stats = self.stats();
        self.update_averages(&stats);
        let dropped = stats.dropped_slow_receiver
            + stats.dropped_queue_full
            + stats.dropped_expired
            + stats.dropped_too_large
            + stats.dropped_no_member;
        let uptime = self.now.saturating_since(self.started).as_secs();
        let values = [
            ("version", self.config.version.clone()),
            ("started_at", self.started_wall.as_millis().to_string()),
            ("uptime", uptime.to_string()),
            ("clients/connected", stats.connections.to_string()),
            ("clients/maximum", stats.connections_maximum.to_string()),
            ("clients/total", stats.connections_total.to_string()),
            ("clients/disconnected", stats.sessions.saturating_sub(stats.connections).to_string()),
            ("clients/expired", stats.sessions_expired_total.to_string()),
            ("sessions/count", stats.sessions.to_string()),
            ("subscriptions/count", stats.subscriptions.to_string()),
            ("retained messages/count", stats.retained.to_string()),
            ("messages/queued", stats.queued.to_string()),
            ("messages/queued/bytes", stats.queued_bytes.to_string()),
            ("messages/inflight", stats.inflight.to_string()),
            ("messages/spilled", stats.spilled.to_string()),
            ("messages/spilled/bytes", stats.spilled_bytes.to_string()),
            ("messages/memory/bytes", stats.memory_bytes.to_string()),
            ("store/failures", stats.store_failures_total.to_string()),
            ("store/loads", stats.loads_total.to_string()),
            ("store/loads/failed", stats.loads_failed_total.to_string()),
            ("publish/received", stats.publish_received.to_string()),
            ("publish/sent", stats.publish_sent.to_string()),
            ("packets/received", stats.packets_received.to_string()),
            ("packets/sent", stats.packets_sent.to_string()),
            ("bytes/received", stats.bytes_received.to_string()),
            ("bytes/sent", stats.bytes_sent.to_string()),
            ("publish/dropped", dropped.to_string()),
            ("publish/refused", stats.publish_refused_total.to_string()),
        ];
        for (topic, value) in values {
            self.publish_sys_value(topic, value, true);
        }
        self.publish_store_state();
        if let Some(bytes) = self.sys.process_memory {
            self.publish_sys_value("memory", bytes.to_string(), true);
        }
        for (row, name) in ["connections", "publish/received", "publish/sent"].into_iter().enumerate() {
            for (column, minutes) in ["1min", "5min", "15min"].into_iter().enumerate() {
                let value = format!("{:.2}", self.sys.averages[row][column]);
                self.publish_sys_value(&format!("load/{name}/{minutes}"), value, true);
            }
        }
        self.arm_sys();
    }

    /// Publishes whether the store does its work, as soon as that changes.
    pub(super) fn publish_store_state(&mut self) {
        if !self.config.sys_interval.is_zero() {
            let state = if self.store.is_failing() || self.loads.is_failing() { "failing" } else { "ok" };
            self.publish_sys_value("store/state", state.to_string(), true);
        }
    }

    /// Decays the averages by the time of one interval and adds what happened in it, scaled to a minute.
    fn update_averages(&mut self, stats: &Stats) {
        let interval = self.config.sys_interval.as_secs_f64() / 60.0;
        let last = self.sys.last;
        let happened = [
            stats.connections_total - last.connections_total,
            stats.publish_received - last.publish_received,
            stats.publish_sent - last.publish_sent,
        ];
        for (row, count) in self.sys.averages.iter_mut().zip(happened) {
            #[allow(clippy::cast_precision_loss)] // a rate for people
            let per_minute = count as f64 / interval;
            for (average, minutes) in row.iter_mut().zip(MINUTES) {
                // 1 - x / (1 + x) is close to exp(-x) and needs no floating-point library.
                let keep = 1.0 / (1.0 + interval / minutes);
                *average = *average * keep + per_minute * (1.0 - keep);
            }
        }
        self.sys.last = *stats;
    }

    fn publish_sys_value(&mut self, topic: &str, value: String, retain: bool) {
        if retain && self.sys.published.get(topic) == Some(&value) {
            return;
        }
        let Ok(name) = TopicName::try_from(format!("$SYS/{}/{topic}", self.config.id).as_str()) else { return };
        let shared = SharedPublish { topic: name, payload: value.clone().into(), properties: Properties::new() };
        let id = self.next_message();
        let mut outgoing = Outgoing::new(shared, QoS::AtMostOnce, retain, None, None, id);
        if retain {
            self.retain_volatile(&mut outgoing);
            self.sys.published.insert(topic.to_string(), value);
        }
        self.route(&mut outgoing);
    }

    /// What happens is published too, as it happens.
    pub(super) fn publish_sys_event(&mut self, event: &Event) {
        let (topic, text) = match event {
            Event::Connected { client_id, .. } => ("new/clients", client_id.to_string()),
            Event::Disconnected { client_id, .. } => ("disconnect/clients", client_id.to_string()),
            Event::Subscribed { client_id, filter, .. } => {
                ("new/subscribes", format!("{}\t{}", &**client_id, &**filter))
            }
            Event::Unsubscribed { client_id, filter } => {
                ("new/unsubscribes", format!("{}\t{}", &**client_id, &**filter))
            }
            _ => return,
        };
        self.publish_sys_value(topic, text, false);
    }
}
