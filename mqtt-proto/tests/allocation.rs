//! The decoder allocates in proportion to what has arrived, never to what a length field announces.
#[path = "codec/common/mod.rs"]
mod common;
#[path = "codec/common/packets.rs"]
mod packets;

use bytes::BytesMut;
use common::{encode, vectors};
use mqtt_proto::*;
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what the thread that asks has allocated.
struct Counting;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    BYTES.set(BYTES.get() + bytes);
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: all is left to the system's allocator; the cells are constant, have no destructor and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes and calls that one attempt to read a packet allocates.
fn cost(bytes: &[u8], version: Version, limit: u32) -> (usize, usize) {
    let mut buf = BytesMut::from(bytes);
    let before = (BYTES.get(), CALLS.get());
    let result = Packet::read(&mut buf, version, limit);
    let after = (BYTES.get(), CALLS.get());
    drop(result);
    (after.0 - before.0, after.1 - before.1)
}

/// A list entry of four bytes becomes a filter of some words, and a list doubles as it grows.
fn bound(length: usize) -> usize {
    64 * length + 1024
}

#[test]
fn announced_bytes_cost_nothing() {
    for first in 0x10..=0xFF_u8 {
        for version in [Version::V3_1_1, Version::V5] {
            let (bytes, _) = cost(&[first, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4], version, u32::MAX);
            assert_eq!(bytes, 0, "{first:02x}: 256 MB are announced");
            // [MQTT-3.1.2-24] What is above the limit is refused before it is there.
            let (bytes, _) = cost(&[first, 0x80, 0x01], version, 100);
            assert_eq!(bytes, 0, "{first:02x}: above the limit");
        }
    }
}

#[test]
fn vectors_cost_what_they_weigh() {
    for vector in vectors() {
        let (bytes, _) = cost(&vector.bytes, vector.version, u32::MAX);
        let most = bound(vector.bytes.len());
        assert!(bytes <= most, "{}: {bytes} bytes for {}, at most {most}", vector.name, vector.bytes.len());
    }
}

/// The list of a SUBSCRIBE is allocated once and no larger than its filters.
#[test]
fn a_list_of_filters_is_allocated_once() {
    let list = |length: usize| {
        let filters = (0..length).map(|i| (format!("a/{i}").try_into().unwrap(), QoS::AtMostOnce.into())).collect();
        let packet = Subscribe { id: PacketId::MAX, filters, properties: Properties::new() }.into();
        cost(&encode(&packet, Version::V5), Version::V5, u32::MAX)
    };
    let (one, few) = (list(1), list(60));
    assert_eq!(one.1, few.1, "as many calls for 60 filters as for one");
    let entry = size_of::<(TopicFilter, SubscriptionOptions)>();
    assert_eq!(few.0 - one.0, 59 * entry);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// So do packets with a byte that is not theirs.
    #[test]
    fn broken_packets_cost_what_they_weigh(
        (version, packets) in packets::packets(),
        place in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        for packet in packets {
            let mut bytes = encode(&packet, version).to_vec();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let cost = cost(&bytes, version, u32::MAX).0;
            prop_assert!(cost <= bound(bytes.len()), "{cost} bytes for {}: {bytes:02x?}", bytes.len());
        }
    }
}
