//! The longest and deepest names that the protocol allows, and what stays behind when all has gone.

use topic_trie::{Cursor, MAX_BYTES, RetainedStore, Scan, Scratch, Seed, SubscriptionTrie};

fn hits(trie: &SubscriptionTrie<u32, ()>, topic: &str) -> Vec<u32> {
    let mut found = Vec::new();
    trie.matches(topic, &mut Scratch::new(), |key, ()| found.push(key));
    found.sort_unstable();
    found
}

#[test]
fn deepest_filters() {
    let mut trie = SubscriptionTrie::new(Seed([5, 6]));
    trie.shrink_to_fit();
    let empty = trie.memory();
    let slashes = "/".repeat(MAX_BYTES - 1);
    let filters =
        [slashes.clone() + "#", slashes.clone() + "+", "+/".repeat(MAX_BYTES / 2) + "+", slashes.clone() + "/"];
    for (key, filter) in (0..).zip(&filters) {
        assert_eq!(filter.len(), MAX_BYTES);
        trie.insert(filter, key, ()).unwrap();
    }
    assert_eq!(hits(&trie, &(slashes.clone() + "/")), [0, 3]);
    assert_eq!(hits(&trie, &(slashes.clone() + "x")), [0, 1]);
    assert_eq!(hits(&trie, &slashes[1..]), [0]);
    assert_eq!(hits(&trie, &"a/".repeat(MAX_BYTES / 2)), [2]);
    let mut listed = Vec::new();
    trie.for_each(|filter, key, ()| listed.push((filter.to_owned(), key)));
    listed.sort_unstable_by_key(|(_, key)| *key);
    assert!(listed.iter().map(|(filter, _)| filter).eq(&filters));

    let shared = trie.memory().node_count;
    trie.remove(&filters[2], 2).unwrap();
    assert_eq!(trie.memory().node_count, shared - (MAX_BYTES / 2 + 1));
    for (key, filter) in (0..).zip(&filters) {
        trie.remove(filter, key);
    }
    assert!(trie.is_empty());
    trie.shrink_to_fit();
    assert_eq!(trie.memory(), empty);
}

#[test]
fn deepest_topics() {
    let mut store = RetainedStore::new(Seed([5, 6]));
    store.shrink_to_fit();
    let empty = store.memory();
    // Each is the parent of the next, so deep nodes with values must not each keep the whole of their path twice.
    let deepest = "a/".repeat(MAX_BYTES / 2) + "b";
    let topics: Vec<&str> = (0..8).map(|depth| &deepest[..MAX_BYTES - 2 * depth]).collect();
    for (value, topic) in (0..).zip(&topics) {
        assert_eq!(store.insert(topic, value), Ok(None));
    }
    assert!(store.memory().bytes < 10_000_000, "{:?}", store.memory());
    for filter in ["#", "a/#", "+/#", &("a/".repeat(MAX_BYTES / 2 - 8) + "#")] {
        let mut cursor = Cursor::new();
        let mut found = Vec::new();
        while store.scan(filter, &mut cursor, 20_000, |topic, value| found.push((topic.len(), *value))) == Scan::More {}
        found.sort_unstable_by_key(|(_, value)| *value);
        assert!(found.iter().map(|(len, _)| *len).eq(topics.iter().map(|topic| topic.len())), "{found:?}");
    }
    for (value, topic) in (0..).zip(&topics).skip(1) {
        assert_eq!(store.remove(topic), Some(value));
    }
    store.shrink_to_fit();
    // Left is the longest name, and one level for each node above it.
    assert!(store.memory().texts < 3 * MAX_BYTES, "{:?}", store.memory());
    assert_eq!(store.remove(topics[0]), Some(0));
    store.shrink_to_fit();
    assert_eq!(store.memory(), empty);
}

#[test]
fn a_topic_of_one_level_as_long_as_it_may_be() {
    let long = "x".repeat(MAX_BYTES);
    let mut trie = SubscriptionTrie::new(Seed::default());
    trie.insert(&long, 1, ()).unwrap();
    trie.insert("+", 2, ()).unwrap();
    trie.insert(&(long[2..].to_owned() + "/+"), 3, ()).unwrap();
    assert_eq!(hits(&trie, &long), [1, 2]);
    assert_eq!(hits(&trie, &(long[2..].to_owned() + "/y")), [3]);
    let mut store = RetainedStore::new(Seed::default());
    store.insert(&long, 1).unwrap();
    assert_eq!((store.get(&long), store.get(&long[1..])), (Some(&1), None));
}

/// One filter with a hundred thousand subscribers: each step must be found without a search through all of them.
#[test]
fn many_subscribers_of_one_filter() {
    const MANY: u32 = 100_000;
    let mut trie = SubscriptionTrie::new(Seed([1, 1]));
    trie.shrink_to_fit();
    let empty = trie.memory();
    for key in 0..MANY {
        assert_eq!(trie.insert("a/+", key, key), Ok(None));
    }
    assert_eq!(trie.insert("a/+", 77, 1), Ok(Some(77)));
    *trie.get_mut("a/+", 77).unwrap() = 77;
    assert_eq!((trie.len(), trie.filters()), (MANY as usize, 1));
    assert!(trie.subscribers("a/+").all(|(key, value)| key == *value));
    for key in 0..MANY {
        assert_eq!(trie.remove("a/+", key), Some(key));
    }
    trie.shrink_to_fit();
    assert_eq!(trie.memory(), empty);
}

#[test]
fn the_same_history_gives_the_same_order() {
    let run = || {
        let mut trie = SubscriptionTrie::new(Seed([9, 9]));
        let mut store = RetainedStore::new(Seed([9, 9]));
        for key in 0..500u32 {
            let filter = ["a/+/c", "a/#", "+/b/c", "a/b/c", "#"][key as usize % 5];
            trie.insert(filter, key * 7 % 501, key).unwrap();
            store.insert(&format!("t/{}/{key}", key % 13), key).unwrap();
            trie.remove(filter, key / 2);
            store.remove(&format!("t/{}/{}", key % 13, key - key % 3));
        }
        let mut order = Vec::new();
        trie.matches("a/b/c", &mut Scratch::new(), |key, value| order.push((key, *value)));
        trie.for_each(|_, key, value| order.push((key, *value)));
        let mut cursor = Cursor::new();
        while store.scan("t/+/#", &mut cursor, 10, |_, value| order.push((0, *value))) == Scan::More {}
        store.for_each(|_, value| order.push((1, *value)));
        order
    };
    assert_eq!(run(), run());
}

/// Names that come and go for ever must not take more and more memory, with no one calling `shrink_to_fit`.
#[test]
fn churn_does_not_leak() {
    let mut trie = SubscriptionTrie::new(Seed([2, 3]));
    let mut store = RetainedStore::new(Seed([2, 3]));
    let name = |round: u32, kind: &str| format!("client/{round}/{kind}");
    let mut early = (0, 0);
    for round in 0..20_000u32 {
        for kind in ["status", "+", "#"] {
            trie.insert(&name(round, kind), 1, ()).unwrap();
        }
        store.insert(&name(round, "status"), ()).unwrap();
        if let Some(past) = round.checked_sub(200) {
            for kind in ["status", "+", "#"] {
                assert_eq!(trie.remove(&name(past, kind), 1), Some(()));
            }
            assert_eq!(store.remove(&name(past, "status")), Some(()));
        }
        if round == 2_000 {
            early = (trie.memory().bytes, store.memory().bytes);
        }
    }
    // Names are longer by a digit at the end.
    assert!(trie.memory().bytes < early.0 * 3 / 2, "{early:?} {:?}", trie.memory());
    assert!(store.memory().bytes < early.1 * 3 / 2, "{early:?} {:?}", store.memory());
}
