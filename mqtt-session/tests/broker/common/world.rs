//! A broker with a store that keeps batches when it is told to, and that a crash does not touch.
use super::*;

/// The Session Expiry Interval of a session that never ends.
pub const FOREVER: u32 = u32::MAX;
/// A broker with a store that keeps batches when it is told to.
pub struct World {
    pub bench: Bench,
    pub config: Arc<Config>,
    /// How many of the bench's batches are kept.
    pub kept: usize,
}

impl World {
    pub fn new() -> Self {
        let mut bench = Bench::new();
        bench.store_at_once = false;
        let config = Arc::new(Config { sys_interval: Duration::ZERO, ..Config::default() });
        Self { bench, config, kept: 0 }
    }

    /// One whose broker has read its store, with so much memory for messages.
    pub fn with_memory(bytes: u64) -> Self {
        let mut world = Self::new();
        world.config = Arc::new(Config { max_memory_bytes: bytes, ..Config::clone(&world.config) });
        world.crash();
        world
    }

    /// Keeps up to this many batches, and says so.
    pub fn keep(&mut self, most: usize) {
        for _ in 0..most {
            let Some(batch) = self.bench.batches.get(self.kept) else { return };
            self.bench.disk.apply(batch);
            let upto = batch.seq;
            self.kept += 1;
            self.bench.broker.handle_completion(self.bench.now, Completion::Stored { upto });
            self.bench.run();
        }
    }

    /// The store loses the next batch, and says so.
    pub fn lose(&mut self) {
        let Some(batch) = self.bench.batches.get(self.kept) else { return };
        let seq = batch.seq;
        self.kept += 1;
        self.bench.store_failed(seq);
    }

    /// Keeps all batches.
    pub fn keep_all(&mut self) {
        while self.kept < self.bench.batches.len() {
            self.keep(1);
        }
    }

    pub fn crash(&mut self) {
        let promised = self.bench.promised.saturating_sub(self.kept);
        self.keep(promised);
        self.kept = 0;
        self.bench.crash(self.config.clone());
    }

    /// Sessions, subscriptions, retained and queued messages: of the broker, and of the store.
    pub fn levels(&self) -> [(u64, usize); 4] {
        let stats = self.bench.broker.stats();
        [
            (stats.sessions, self.bench.disk.sessions()),
            (stats.subscriptions, self.bench.disk.subscriptions()),
            (stats.retained, self.bench.disk.retained()),
            (stats.queued, self.bench.disk.entries()),
        ]
    }
}

/// SUBSCRIBE of one filter.
pub fn subscribe(text: &str, qos: QoS) -> Subscribe {
    Subscribe { id: pid(77), filters: vec![(filter(text), qos.into())], properties: Properties::new() }
}

/// The delivery of this QoS and identifier.
pub fn with_id(qos: QoS, id: u16, dup: bool) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: pid(id), dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: pid(id), dup },
    }
}
