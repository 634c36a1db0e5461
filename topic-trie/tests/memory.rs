//! `memory` says what the allocator says, and the structures ask for little more than they need.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use topic_trie::{MemoryUse, RetainedStore, Seed, SubscriptionTrie};

/// Counts what the thread that asks holds, and how often it asked.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count(given: usize, taken: usize) {
    HELD.set(HELD.get().wrapping_add(given).wrapping_sub(taken));
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: all is left to the system's allocator; the cells are constant, have no destructor and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers without a pattern, the same every time.
fn numbers() -> impl FnMut(u32) -> u32 {
    let mut state = 1u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((state >> 32) * u64::from(below)) >> 32) as u32
    }
}

/// Names that come again, some with wildcards.
fn name(number: u32, wild: bool) -> String {
    let tail = if wild && number.is_multiple_of(3) { "+" } else { "state" };
    format!("floor/{}/room {}/{tail}", number % 7, number / 7)
}

fn sum(memory: MemoryUse) -> usize {
    memory.values + memory.nodes + memory.texts
}

#[test]
fn a_trie_says_what_it_holds() {
    let mut number = numbers();
    let before = HELD.get();
    let mut trie = SubscriptionTrie::<u32, u64>::new(Seed([1, 2]));
    for round in 0..6_000 {
        let filter = name(number(200), true);
        // Of every shape of set there are some: one subscriber, a few, and many.
        let key = number(if filter.len().is_multiple_of(2) { 40 } else { 3 });
        if number(3) == 0 {
            trie.remove(&filter, key);
        } else {
            trie.insert(&filter, key, 0).unwrap();
        }
        if round % 1000 == 999 {
            trie.shrink_to_fit();
        }
        drop(filter);
        if round % 10 == 9 {
            assert_eq!(trie.memory().bytes, HELD.get().wrapping_sub(before), "{round}");
            assert_eq!(sum(trie.memory()), trie.memory().bytes);
        }
    }
    assert!(trie.len() > 500);
    drop(trie);
    assert_eq!(HELD.get(), before);
}

#[test]
fn a_store_says_what_it_holds() {
    let mut number = numbers();
    let before = HELD.get();
    let mut store = RetainedStore::<u64>::new(Seed([1, 2]));
    for round in 0..6_000 {
        let topic = name(number(400), false);
        if number(3) == 0 {
            store.remove(&topic);
        } else {
            store.insert(&topic, 0).unwrap();
        }
        if round % 1000 == 999 {
            store.shrink_to_fit();
        }
        drop(topic);
        if round % 10 == 9 {
            assert_eq!(store.memory().bytes, HELD.get().wrapping_sub(before), "{round}");
            assert_eq!(sum(store.memory()), store.memory().bytes);
        }
    }
    assert!(store.len() > 200);
    drop(store);
    assert_eq!(HELD.get(), before);
}

/// Vectors have an eighth to spare, tables are at most four fifths full and double until they are large; and what grows
/// asks the allocator a number of times that is logarithmic in the size.
#[test]
fn growth_is_thrifty_and_rare() {
    const MANY: usize = 60_000;
    let pair = size_of::<(u32, u64)>();
    let table = |entries: usize| ((entries * 5).div_ceil(4) * 2 + 100) * size_of::<u64>();
    let calls = CALLS.get();
    let mut trie = SubscriptionTrie::<u32, u64>::new(Seed([1, 2]));
    for key in 0..MANY as u32 {
        trie.insert("one/+", key, 0).unwrap();
    }
    assert!(CALLS.get() - calls < 300, "{}", CALLS.get() - calls);
    assert!(trie.memory().values < MANY * pair * 9 / 8 + table(MANY) + 1000, "{:?}", trie.memory());
    trie.shrink_to_fit();
    let values = trie.memory().values;
    assert!(values < MANY * (pair + 10) + 1000 && values > MANY * (pair + 10), "{:?}", trie.memory());

    let mut store = RetainedStore::<u64>::new(Seed([1, 2]));
    let mut topic = String::with_capacity(100);
    let calls = CALLS.get();
    for number in 0..MANY {
        topic.clear();
        std::fmt::Write::write_fmt(&mut topic, format_args!("{number:010}")).unwrap();
        store.insert(&topic, 0).unwrap();
    }
    assert!(CALLS.get() - calls < 700, "{}", CALLS.get() - calls);
    let memory = store.memory();
    assert!(memory.texts < MANY * 10 * 9 / 8 + table(MANY) + 1000, "{memory:?}");
    assert!(memory.values < MANY * 16 * 9 / 8 + 1000, "{memory:?}");
}

/// Memory is kept for the next names, and taken by them.
#[test]
fn a_cleared_store_is_filled_again_without_the_allocator() {
    let mut store = RetainedStore::<u64>::new(Seed([1, 2]));
    let topics: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
    let mut fill = || {
        let calls = CALLS.get();
        for topic in &topics {
            store.insert(topic, 1).unwrap();
        }
        let calls = CALLS.get() - calls;
        store.clear();
        (calls, store.memory().texts)
    };
    let (first, texts) = fill();
    assert!(first > 10);
    for _ in 0..20 {
        let (calls, now) = fill();
        assert!(calls < 60, "{calls}"); // the lists of children are not kept
        assert_eq!(now, texts);
    }
}
