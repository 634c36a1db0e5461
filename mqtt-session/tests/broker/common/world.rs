//! A broker with a store that keeps batches when it is told to, and that a crash does not touch.
use super::*;

/// The Session Expiry Interval of a session that never ends.
pub const FOREVER: u32 = u32::MAX;
/// A broker with a store that keeps batches when it is told to.
pub struct World {
    pub bench: Bench,
    pub config: Arc<Config>,
    pub store: MemoryStore,
    /// How many of the bench's batches are kept.
    pub kept: usize,
}

impl World {
    pub fn new() -> Self {
        let mut bench = Bench::new();
        bench.store_at_once = false;
        let config = Arc::new(Config { sys_interval: Duration::ZERO, ..Config::default() });
        Self { bench, config, store: MemoryStore::new(), kept: 0 }
    }

    /// Keeps up to this many batches, and says so.
    pub fn keep(&mut self, most: usize) {
        for _ in 0..most {
            let Some(batch) = self.bench.batches.get(self.kept) else { return };
            self.store.apply(batch);
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
        self.bench.crash(self.config.clone(), &self.store);
    }

    /// Sessions, subscriptions, retained and queued messages: of the broker, and of the store.
    pub fn levels(&self) -> [(u64, usize); 4] {
        let stats = self.bench.broker.stats();
        [
            (stats.sessions, self.store.sessions()),
            (stats.subscriptions, self.store.subscriptions()),
            (stats.retained, self.store.retained()),
            (stats.queued, self.store.entries()),
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
