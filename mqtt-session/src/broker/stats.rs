//! Counters of a broker, as a plain value.
//!
//! Invariant: totals only grow; levels are exact at the time of the call.

/// Counters since the start (`*_total`, bytes and packets) and levels now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections now.
    pub connections: u64,
    /// Most connections at once.
    pub connections_maximum: u64,
    /// Connections accepted since the start.
    pub connections_total: u64,
    /// CONNECTs refused since the start.
    pub refused_total: u64,
    /// Connections closed for a protocol error since the start.
    pub protocol_errors_total: u64,
    /// Sessions now, offline ones included.
    pub sessions: u64,
    /// Sessions expired since the start.
    pub sessions_expired_total: u64,
    /// Subscriptions now, shared ones included.
    pub subscriptions: u64,
    /// Retained messages now.
    pub retained: u64,
    /// Messages in queues now: log entries, group entries and messages that wait for one session.
    pub queued: u64,
    /// Bytes of these.
    pub queued_bytes: u64,
    /// How many of `queued` are in the store alone.
    pub spilled: u64,
    /// Bytes of these.
    pub spilled_bytes: u64,
    /// Bytes of messages in memory now: those of `queued_bytes` that are not spilled, retained ones, those that are on their
    /// way to clients or wait for their sockets, and what was read back from the store. A message counts once for each queue
    /// or client that has it.
    pub memory_bytes: u64,
    /// Parts of logs that were asked of the store since the start.
    pub loads_total: u64,
    /// How many of these the store could not give; each is asked for again.
    pub loads_failed_total: u64,
    /// Batches that the store did not keep since the start.
    pub store_failures_total: u64,
    /// QoS 1 and 2 messages on their way to clients now.
    pub inflight: u64,
    /// PUBLISH packets received since the start.
    pub publish_received: u64,
    /// PUBLISH packets sent since the start.
    pub publish_sent: u64,
    /// Packets received since the start.
    pub packets_received: u64,
    /// Packets sent since the start.
    pub packets_sent: u64,
    /// Bytes received since the start.
    pub bytes_received: u64,
    /// Bytes sent since the start.
    pub bytes_sent: u64,
    /// Publishes refused for lack of authorization since the start.
    pub publish_denied_total: u64,
    /// QoS 1 and 2 publishes refused since the start because there was no room in memory, and nothing to leave to the store.
    pub publish_refused_total: u64,
    /// Deliveries dropped because a socket did not keep up.
    pub dropped_slow_receiver: u64,
    /// Deliveries dropped because a queue was full.
    pub dropped_queue_full: u64,
    /// Entries that gave way in full logs. Not deliveries: each session that had not read them counts those in
    /// `dropped_queue_full` when it reads again.
    pub trimmed_log_full: u64,
    /// Deliveries dropped because the message expired.
    pub dropped_expired: u64,
    /// Deliveries dropped because of the client's Maximum Packet Size.
    pub dropped_too_large: u64,
    /// QoS 0 messages that no member of a shared subscription could take.
    pub dropped_no_member: u64,
}
