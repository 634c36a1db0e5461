//! The outgoing bytes of one connection, as chunks that an adapter views and writes with one vectored write.
//!
//! Invariant: bytes leave in the order in which they came; `len` is exactly what is still to be written.
use alloc::collections::VecDeque;
use bytes::{Buf, Bytes, BytesMut};

/// Payloads at least this long are shared, shorter ones are copied into the contiguous run: below about 1 KiB a
/// copy costs less than a further chunk of a vectored write.
pub(crate) const SHARE_FROM: usize = 1024;

/// A queue of chunks: small packets in contiguous runs, large payloads shared without a copy.
#[derive(Debug, Default)]
pub struct TxQueue {
    /// Finished chunks, oldest first.
    chunks: VecDeque<Bytes>,
    /// The run that small packets are appended to; it follows all of `chunks`.
    run: BytesMut,
    /// Bytes in `chunks`.
    queued: usize,
}

impl TxQueue {
    /// An empty queue, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes still to be written. O(1).
    pub fn len(&self) -> usize {
        self.queued + self.run.len()
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The contiguous run, to encode a packet into.
    pub fn run(&mut self) -> &mut BytesMut {
        &mut self.run
    }

    /// Appends bytes: copied when short, shared from 1 KiB on.
    pub fn push(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE_FROM {
            self.run.extend_from_slice(bytes);
            return;
        }
        if !self.run.is_empty() {
            let run = self.run.split().freeze();
            self.queued += run.len();
            self.chunks.push_back(run);
        }
        self.queued += bytes.len();
        self.chunks.push_back(bytes.clone());
    }

    /// The chunks, oldest first, for one vectored write.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| &chunk[..]).chain((!self.run.is_empty()).then_some(&self.run[..]))
    }

    /// Drops the first `count` bytes, which the socket took; more than [`TxQueue::len`] drops all.
    pub fn consume(&mut self, mut count: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            if count < chunk.len() {
                chunk.advance(count);
                self.queued -= count;
                return;
            }
            count -= chunk.len();
            self.queued -= chunk.len();
            self.chunks.pop_front();
        }
        if count < self.run.len() {
            self.run.advance(count);
        } else {
            self.run.clear();
        }
        if self.is_empty() && self.run.capacity() > 64 * 1024 {
            *self = Self::new(); // a burst must not pin its memory for ever
        }
    }

    /// Forgets all bytes and releases the memory.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn partial_writes_keep_the_order() {
        let big = Bytes::from(alloc::vec![7; SHARE_FROM]);
        let mut queue = TxQueue::new();
        queue.push(&Bytes::from_static(b"head"));
        queue.push(&big);
        queue.push(&Bytes::from_static(b"tail"));
        let expected: Vec<u8> = [b"head", &big[..], b"tail"].concat();
        assert_eq!(queue.chunks().count(), 3);
        let mut written = Vec::new();
        for step in [1, 2, 5, 1000, 3, 4000] {
            let all: Vec<u8> = queue.chunks().flatten().copied().collect();
            assert_eq!(all.len(), queue.len());
            let step = step.min(all.len());
            written.extend_from_slice(&all[..step]);
            queue.consume(step);
        }
        assert_eq!(written, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn short_packets_share_a_run_and_no_chunk_is_empty() {
        let mut queue = TxQueue::new();
        for _ in 0..3 {
            queue.push(&Bytes::from(alloc::vec![1; SHARE_FROM - 1]));
        }
        assert_eq!(queue.chunks().count(), 1);
        let big = Bytes::from(alloc::vec![2; SHARE_FROM]);
        queue.push(&big);
        assert_eq!(queue.chunks().nth(1).map(<[u8]>::as_ptr), Some(big.as_ptr()), "it is shared");
        queue.push(&big);
        queue.consume(3 * (SHARE_FROM - 1));
        assert_eq!(queue.chunks().map(<[u8]>::len).collect::<Vec<_>>(), [SHARE_FROM; 2]);
        queue.consume(SHARE_FROM);
        assert_eq!(queue.chunks().map(<[u8]>::len).collect::<Vec<_>>(), [SHARE_FROM]);
        queue.consume(usize::MAX);
        assert_eq!((queue.chunks().count(), queue.len()), (0, 0));
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        for (burst, kept) in [(2_000, true), (60_000, true), (100_000, false)] {
            let mut queue = TxQueue::new();
            queue.run().extend_from_slice(&alloc::vec![0; burst]);
            queue.consume(burst - 1);
            assert_eq!(queue.len(), 1);
            queue.run().reserve(burst - 1);
            queue.consume(1);
            assert_eq!(queue.run().capacity() >= burst - 1, kept, "{burst}");
        }
    }

    #[test]
    fn clearing_forgets_all() {
        let mut queue = TxQueue::new();
        queue.push(&Bytes::from(alloc::vec![2; SHARE_FROM]));
        queue.push(&Bytes::from_static(b"tail"));
        queue.clear();
        assert_eq!((queue.len(), queue.chunks().count(), queue.run().capacity()), (0, 0, 0));
    }
}
