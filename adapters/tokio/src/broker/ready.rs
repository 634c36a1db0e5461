//! Which sockets woke the driver.
//!
//! Invariant: a socket that became readable or writable is in the queue before the driver is woken, and a driver that
//! went to sleep is woken by the first one only.
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The keys of sockets that woke the driver. It is filled on the shard's own thread (the runtime's IO driver runs
/// there), so its lock is never contended; it exists because wakers are `Send`.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    keys: Vec<u32>,
    /// The driver, while it sleeps.
    driver: Option<Waker>,
}

impl ReadyQueue {
    /// Moves all keys into `keys`, which must be empty; the two vectors keep their memory between them.
    pub(super) fn take(&self, keys: &mut Vec<u32>) {
        debug_assert!(keys.is_empty());
        mem::swap(&mut self.lock().keys, keys);
    }

    /// `true`: nothing is ready, and `driver` is woken when that changes.
    pub(super) fn sleep(&self, driver: &Waker) -> bool {
        let mut inner = self.lock();
        if !inner.keys.is_empty() {
            return false;
        }
        match &mut inner.driver {
            Some(waker) => waker.clone_from(driver),
            empty => *empty = Some(driver.clone()),
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one socket.
pub(super) struct Bell {
    key: u32,
    queue: Arc<ReadyQueue>,
}

impl Bell {
    /// A waker that puts `key` into `queue`.
    pub(super) fn waker(key: u32, queue: &Arc<ReadyQueue>) -> Waker {
        Waker::from(Arc::new(Self { key, queue: Arc::clone(queue) }))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let driver = {
            let mut inner = self.queue.lock();
            inner.keys.push(self.key);
            inner.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_sleeping_driver_is_woken_once() {
        let queue = Arc::new(ReadyQueue::default());
        let count = Arc::new(Count::default());
        let driver = Waker::from(Arc::clone(&count));
        assert!(queue.sleep(&driver));
        for key in [3, 5] {
            Bell::waker(key, &queue).wake();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!queue.sleep(&driver), "it may not sleep while sockets are ready");
        let mut keys = Vec::new();
        queue.take(&mut keys);
        assert_eq!(keys, [3, 5]);
        assert!(queue.sleep(&driver));
    }
}
