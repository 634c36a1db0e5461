//! Topic names to subscribers and retained messages.
use crate::{Case, case};
use std::hint::black_box;
use topic_trie::{Cursor, RetainedStore, Scan, Scratch, Seed, SubscriptionTrie};

const SEED: Seed = Seed([1, 2]);
const METRICS: [&str; 4] = ["temperature", "humidity", "voltage", "state"];

/// `site/{s}/device/{d}/{metric}`: about 20 of the filters match a topic.
fn topic(n: usize, size: usize) -> String {
    let sites = size / 100 + 1;
    format!("site/{}/device/{}/{}", n % sites, (n / sites) % 25, METRICS[n % METRICS.len()])
}

/// The mix of an IoT server: 70 % exact, 25 % with one `+`, 5 % with `#`.
fn filter(n: usize, size: usize) -> String {
    let name = topic(n.wrapping_mul(0x9E37_79B9) % size, size);
    let mut levels: Vec<&str> = name.split('/').collect();
    match n % 20 {
        0..14 => {}
        14..17 => levels[3] = "+",
        17..19 => levels[4] = "+",
        _ => {
            levels.truncate(2);
            levels.push("#");
        }
    }
    levels.join("/")
}

fn subscriptions(size: usize, filter: impl Fn(usize) -> String) -> SubscriptionTrie<u32, u8> {
    let mut trie = SubscriptionTrie::new(SEED);
    for n in 0..size {
        trie.insert(&filter(n), n as u32, 0).expect("a sound filter");
    }
    trie
}

/// Topics in an order that no cache guesses.
fn topics(size: usize, topic: impl Fn(usize) -> String) -> Vec<String> {
    (0..4096_usize).map(|n| topic(n.wrapping_mul(0x85EB_CA6B) % size)).collect()
}

/// Every case of this file.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [10_000, 100_000, 1_000_000] {
        let exact = move |n: usize| format!("site/{}/device/{n}/temperature", n % 100);
        cases.push(matching(format!("match exact/{size}"), size, exact, exact));
        cases.push(matching(format!("match iot/{size}"), size, move |n| filter(n, size), move |n| topic(n, size)));
    }
    cases.push(all_plus());
    cases.push(edit());
    cases.push(retained_get());
    for (name, filter) in [("site/5/#", "site/5/#"), ("site/+/device/7/state", "site/+/device/7/state"), ("#", "#")] {
        cases.push(retained_scan(name, filter));
    }
    cases
}

fn matching(
    name: String,
    size: usize,
    filter: impl Fn(usize) -> String + Copy + 'static,
    topic: impl Fn(usize) -> String + Copy + 'static,
) -> Case {
    case(name, move || {
        let (trie, topics) = (subscriptions(size, filter), topics(size, topic));
        let (mut scratch, mut next) = (Scratch::default(), 0);
        move || {
            next = (next + 1) % topics.len();
            let mut found = 0_u64;
            trie.matches(&topics[next], &mut scratch, |key, _| found += u64::from(key));
            black_box(found);
        }
    })
}

/// The worst that filters can do: each level of the topic doubles the branches.
fn all_plus() -> Case {
    case("match pathological/2^8 branches", || {
        let mut trie = SubscriptionTrie::new(SEED);
        for bits in 0..256_u32 {
            let levels: Vec<&str> = (0..8).map(|level| if bits >> level & 1 == 1 { "+" } else { "a" }).collect();
            trie.insert(&levels.join("/"), bits, 0_u8).expect("a sound filter");
        }
        let mut scratch = Scratch::default();
        move || {
            let mut found = 0;
            trie.matches(black_box("a/a/a/a/a/a/a/a"), &mut scratch, |_, _| found += 1);
            assert_eq!(found, 256);
        }
    })
}

fn edit() -> Case {
    case("insert and remove/100000", || {
        let size = 100_000;
        let mut trie = subscriptions(size, |n| filter(n, size));
        let filters: Vec<String> = (0..4096).map(|n| filter(n * 7, size)).collect();
        let mut next = 0;
        move || {
            next = (next + 1) % filters.len();
            trie.insert(&filters[next], u32::MAX, 1).expect("a sound filter");
            black_box(trie.remove(&filters[next], u32::MAX));
        }
    })
}

const RETAINED: usize = 100_000;

fn retained() -> RetainedStore<u32> {
    let mut store = RetainedStore::new(SEED);
    for n in 0..RETAINED {
        store.insert(&topic(n, RETAINED), n as u32).expect("a sound topic");
    }
    store
}

fn retained_get() -> Case {
    case("retained get/100000", || {
        let (store, topics) = (retained(), topics(RETAINED, |n| topic(n, RETAINED)));
        let mut next = 0;
        move || {
            next = (next + 1) % topics.len();
            black_box(store.get(&topics[next]));
        }
    })
}

fn retained_scan(name: &str, filter: &'static str) -> Case {
    case(format!("retained scan/{name}"), move || {
        let store = retained();
        move || {
            let (mut cursor, mut found) = (Cursor::new(), 0_u64);
            while store.scan(filter, &mut cursor, 1000, |_, value| found += u64::from(*value)) == Scan::More {}
            black_box(found);
        }
    })
}
