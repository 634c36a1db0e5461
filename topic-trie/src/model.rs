//! The structures against maps that are searched from end to end, over names that meet each other often; each with a good
//! hash and with one under which everything collides.

use crate::hash::SeededHash;
use crate::{Cursor, RetainedStore, Scan, Scratch, Seed, SubscriptionTrie, matches, valid_filter, valid_topic};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

/// Levels: with and without meaning, of all lengths that the search by words tells apart.
fn level() -> impl Strategy<Value = String> {
    let texts =
        ["", "a", "b", "+", "#", "$x", "é", "日本", "a+", "sevenby", "eightbyt", "a level longer than sixteen bytes"];
    prop_oneof![6 => prop::sample::select(texts.to_vec()).prop_map(str::to_string), 3 => (0..40u8).prop_map(|n| n.to_string())]
}

/// Topic names and filters, some of them neither.
fn name() -> impl Strategy<Value = String> {
    let any = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
    let wide = (0..40u8).prop_map(|n| format!("w/{n}"));
    prop_oneof![4 => any, 4 => wide, 1 => Just("a/+".to_string()), 1 => Just("w/+".to_string())]
}

fn hashers(seed: [u64; 2]) -> [SeededHash; 2] {
    [SeededHash::new(Seed(seed)), SeededHash::degenerate()]
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(String, u8, u16),
    /// Twenty siblings, and twenty subscribers of one filter, from this number on.
    Fill(u8),
    /// Of the subscriptions or topics that are there, one.
    Remove(prop::sample::Index),
    RemoveMissing(String, u8),
    Look(String),
    Shrink,
    Clear,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        12 => (name(), 0..40u8, any::<u16>()).prop_map(|(name, key, value)| Edit::Insert(name, key, value)),
        4 => any::<prop::sample::Index>().prop_map(Edit::Remove),
        1 => (name(), any::<u8>()).prop_map(|(name, key)| Edit::RemoveMissing(name, key)),
        1 => (0..40u8).prop_map(Edit::Fill),
        8 => name().prop_map(Edit::Look),
        1 => Just(Edit::Shrink),
    ];
    let clear = Just(Edit::Clear);
    prop::collection::vec(prop_oneof![60 => edit, 1 => clear], 1..200)
}

type Subscriptions = BTreeMap<(String, u8), u16>;

fn check_trie(hasher: SeededHash, edits: &[Edit]) {
    let mut trie = SubscriptionTrie::with_hasher(hasher);
    trie.shrink_to_fit();
    let empty = trie.memory();
    let mut model = Subscriptions::new();
    let mut scratch = Scratch::new();
    for edit in edits {
        let generation = trie.generation();
        let before = model.clone();
        match edit {
            Edit::Insert(filter, key, value) => {
                let old = trie.insert(filter, *key, *value);
                assert_eq!(old.is_ok(), valid_filter(filter), "{filter}");
                if let Ok(old) = old {
                    assert_eq!(old, model.insert((filter.clone(), *key), *value));
                    assert_ne!(trie.generation(), generation);
                }
            }
            Edit::Fill(from) => {
                for key in *from..from + 20 {
                    let wide = format!("w/{key}/+");
                    for filter in ["a/+", &wide] {
                        assert_eq!(trie.insert(filter, key, 0), Ok(model.insert((filter.to_string(), key), 0)));
                    }
                }
            }
            Edit::Remove(index) => {
                if let Some((filter, key)) = pick(&model, *index) {
                    assert_eq!(trie.remove(&filter, key), model.remove(&(filter, key)));
                }
            }
            Edit::RemoveMissing(filter, key) => {
                assert_eq!(trie.remove(filter, *key), model.remove(&(filter.clone(), *key)));
            }
            Edit::Look(name) => compare_at(&trie, &model, name, &mut scratch),
            Edit::Shrink => trie.shrink_to_fit(),
            Edit::Clear => {
                for (filter, key) in core::mem::take(&mut model).into_keys() {
                    trie.remove(&filter, key).unwrap();
                }
                assert_eq!(trie.memory().node_count, empty.node_count);
                trie.shrink_to_fit();
                assert_eq!(trie.memory(), empty);
            }
        }
        assert!(before == model || trie.generation() != generation);
        assert_eq!((trie.len(), trie.is_empty()), (model.len(), model.is_empty()));
    }
    let mut listed = Subscriptions::new();
    trie.for_each(|filter, key, value| assert_eq!(listed.insert((filter.to_string(), key), *value), None));
    assert_eq!(listed, model);
    let filters: BTreeSet<&String> = model.keys().map(|(filter, _)| filter).collect();
    assert_eq!(trie.filters(), filters.len());
}

fn compare_at(trie: &SubscriptionTrie<u8, u16>, model: &Subscriptions, name: &str, scratch: &mut Scratch) {
    let of_filter = model.iter().filter(|((filter, _), _)| filter == name);
    let mut subscribers: Vec<(u8, u16)> = trie.subscribers(name).map(|(key, value)| (key, *value)).collect();
    subscribers.sort_unstable();
    assert!(of_filter.map(|((_, key), value)| (*key, *value)).eq(subscribers.iter().copied()));
    for (key, value) in subscribers {
        assert_eq!(trie.get(name, key), Some(&value));
    }
    if valid_topic(name) {
        let mut found = Vec::new();
        trie.matches(name, scratch, |key, value| found.push((key, *value)));
        found.sort_unstable();
        let mut expected: Vec<(u8, u16)> = model
            .iter()
            .filter(|((filter, _), _)| matches(filter, name))
            .map(|((_, key), value)| (*key, *value))
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

fn pick<K: Clone + Ord, V>(model: &BTreeMap<K, V>, index: prop::sample::Index) -> Option<K> {
    (!model.is_empty()).then(|| model.keys().nth(index.index(model.len())).cloned())?
}

/// A scan between two of its calls.
struct Running {
    filter: String,
    cursor: Cursor,
    /// Matching topics that were there at the start and did not go since.
    stayed: BTreeSet<String>,
    reported: BTreeSet<String>,
}

impl Running {
    fn new(filter: &str, store: &RetainedStore<u16>, model: &BTreeMap<String, u16>) -> Self {
        let hit = |topic: &&String| valid_filter(filter) && matches(filter, topic);
        let stayed = model.keys().filter(hit).cloned().collect();
        let mut cursor = Cursor::new();
        let _ = store.scan(filter, &mut cursor, 0, |_, _| panic!("a hit for nothing"));
        Self { filter: filter.to_string(), cursor, stayed, reported: BTreeSet::new() }
    }

    fn go_on(&mut self, store: &RetainedStore<u16>, model: &BTreeMap<String, u16>, budget: usize) {
        let mut hits = 0;
        let scan = store.scan(&self.filter, &mut self.cursor, budget, |topic, value| {
            hits += 1;
            assert_eq!(model.get(topic), Some(value), "{topic}");
            assert!(matches(&self.filter, topic), "{} on {topic}", self.filter);
            assert!(self.reported.insert(topic.to_string()), "{topic} twice");
        });
        assert!(hits <= budget);
        if scan == Scan::Done {
            let missed: Vec<_> = self.stayed.difference(&self.reported).collect();
            assert!(missed.is_empty(), "{}: {missed:?}", self.filter);
        }
    }
}

fn check_store(hasher: SeededHash, edits: &[Edit], budget: usize) {
    let mut store = RetainedStore::with_hasher(hasher);
    store.shrink_to_fit();
    let empty = store.memory();
    let mut model = BTreeMap::new();
    let mut scans: Vec<Running> = Vec::new();
    for edit in edits {
        let before: BTreeSet<String> = model.keys().cloned().collect();
        match edit {
            Edit::Insert(topic, _, value) => {
                let old = store.insert(topic, *value);
                assert_eq!(old.is_ok(), valid_topic(topic), "{topic}");
                if let Ok(old) = old {
                    assert_eq!(old, model.insert(topic.clone(), *value));
                }
            }
            Edit::Fill(from) => {
                for number in *from..from + 20 {
                    let topic = format!("w/{number}");
                    assert_eq!(store.insert(&topic, 0), Ok(model.insert(topic, 0)));
                }
            }
            Edit::Remove(index) => {
                if let Some(topic) = pick(&model, *index) {
                    assert_eq!(store.remove(&topic), model.remove(&topic));
                }
            }
            Edit::RemoveMissing(topic, _) => assert_eq!(store.remove(topic), model.remove(topic)),
            Edit::Look(name) => {
                assert_eq!(store.get(name), model.get(name));
                assert_eq!(store.get_mut(name), model.get_mut(name));
                let filter = if name.len() == 1 { "#" } else { name };
                scans.push(Running::new(filter, &store, &model));
            }
            Edit::Shrink => store.shrink_to_fit(),
            Edit::Clear => {
                store.clear();
                model.clear();
                assert_eq!(store.memory().node_count, empty.node_count);
            }
        }
        for scan in &mut scans {
            for gone in before.iter().filter(|topic| !model.contains_key(*topic)) {
                scan.stayed.remove(gone);
            }
            scan.go_on(&store, &model, budget);
        }
        assert_eq!((store.len(), store.is_empty()), (model.len(), model.is_empty()));
    }
    for scan in &mut scans {
        scan.go_on(&store, &model, usize::MAX);
    }
    let mut listed = BTreeMap::new();
    store.for_each(|topic, value| assert_eq!(listed.insert(topic.to_string(), *value), None));
    assert_eq!(listed, model);
    for (topic, value) in model {
        assert_eq!(store.remove(&topic), Some(value));
    }
    store.shrink_to_fit();
    assert_eq!(store.memory(), empty);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn subscriptions_follow_the_model(seed in any::<[u64; 2]>(), edits in edits()) {
        for hasher in hashers(seed) {
            check_trie(hasher, &edits);
        }
    }

    #[test]
    fn retained_topics_follow_the_model(seed in any::<[u64; 2]>(), edits in edits(), budget in 0..4usize) {
        for hasher in hashers(seed) {
            check_store(hasher, &edits, budget);
        }
    }
}

#[test]
fn a_warm_search_does_not_allocate() {
    let mut trie = SubscriptionTrie::new(Seed::default());
    for bits in 0..64u32 {
        let filter: Vec<&str> = (0..6).map(|bit| if bits >> bit & 1 == 0 { "x" } else { "+" }).collect();
        trie.insert(&filter.join("/"), bits, ()).unwrap();
    }
    let mut scratch = Scratch::new();
    let mut round = || {
        for topic in ["x/x/x/x/x/x", "x/y/x", "$x/x/x/x/x/x", "y/x/x/x/x/x", "x/x/x/x/x/x/x"] {
            trie.matches(topic, &mut scratch, |_, ()| {});
        }
        scratch.capacity()
    };
    // The two buffers change places, so it takes two rounds to warm both.
    round();
    let warm = round();
    assert_eq!(round(), warm);
    assert_eq!(round(), warm);
}

/// The budget is a limit on the work, not on the hits: a scan that looks at much and finds nothing must stop as well.
#[test]
fn a_budget_bounds_a_scan_without_hits() {
    let mut store = RetainedStore::new(Seed::default());
    for topic in 0..1000 {
        store.insert(&format!("a/{topic}/b"), topic).unwrap();
    }
    let mut cursor = Cursor::new();
    let mut calls = 1;
    while store.scan("a/+/c", &mut cursor, 10, |_, _| panic!("a hit")) == Scan::More {
        calls += 1;
    }
    assert!(calls > 90, "{calls}");
    assert_eq!(store.scan("a/+/c", &mut cursor, 10, |_, _| panic!("a hit")), Scan::Done);
    cursor.reset();
    let mut hits = 0;
    while store.scan("a/+/b", &mut cursor, 10, |_, _| hits += 1) == Scan::More {}
    assert_eq!(hits, 1000);
}

/// A topic that was reported, went, and came back at a place ahead of the cursor is not reported again.
#[test]
fn no_topic_is_reported_twice() {
    for filter in ["a/+", "a/#", "#"] {
        let mut store = RetainedStore::new(Seed::default());
        for topic in 0..8 {
            store.insert(&format!("a/{topic}"), topic).unwrap();
        }
        let mut cursor = Cursor::new();
        let mut reported = Vec::new();
        while reported.is_empty() {
            let _ = store.scan(filter, &mut cursor, 1, |topic, _| reported.push(topic.to_string()));
        }
        let first = reported[0].clone();
        store.remove(&first).unwrap();
        store.insert("a/takes the old place", 8).unwrap();
        store.insert(&first, 9).unwrap();
        while store.scan(filter, &mut cursor, 1, |topic, _| reported.push(topic.to_string())) == Scan::More {}
        assert_eq!(reported.iter().filter(|topic| **topic == first).count(), 1, "{filter}");
        assert!((1..8).all(|topic| reported.contains(&format!("a/{topic}"))), "{filter}: {reported:?}");
    }
}

/// What a cursor stands on may be gone altogether when the scan goes on.
#[test]
fn a_scan_survives_that_its_path_goes_away() {
    let deep = ["a/b/c/d/e", "a/b/c/d/f", "a/b/c/g/h"];
    for way in 0..3 {
        let mut store = RetainedStore::new(Seed::default());
        store.insert("z", 0).unwrap();
        for topic in deep {
            store.insert(topic, 1).unwrap();
        }
        let mut cursor = Cursor::new();
        assert_eq!(store.scan("+/#", &mut cursor, 6, |_, _| {}), Scan::More);
        if way == 0 {
            store.clear();
        } else {
            for topic in deep {
                store.remove(topic).unwrap();
            }
            store.shrink_to_fit();
        }
        if way == 2 {
            // The ids of the path are in use again.
            for topic in 0..9 {
                store.insert(&format!("{topic}/b/c"), 2).unwrap();
            }
        }
        assert_eq!(store.scan("+/#", &mut cursor, 100, |_, _| panic!("all is new or was reported")), Scan::Done);
    }
}

/// Neither a sweep nor a walk reports a topic again that comes back ahead of the cursor as the first new one.
#[test]
fn a_topic_that_moves_ahead_is_not_reported_twice() {
    for filter in ["#", "+", "a/+"] {
        let prefix = if filter == "a/+" { "a/" } else { "" };
        let mut store = RetainedStore::new(Seed::default());
        for topic in 0..8 {
            store.insert(&format!("{prefix}{topic}"), topic).unwrap();
        }
        let mut cursor = Cursor::new();
        let mut reported = Vec::new();
        while reported.is_empty() {
            let _ = store.scan(filter, &mut cursor, 1, |topic, _| reported.push(topic.to_string()));
        }
        let first = reported[0].clone();
        // What is freed last is used first.
        store.remove(&first).unwrap();
        store.remove(&format!("{prefix}7")).unwrap();
        store.insert(&first, 9).unwrap();
        while store.scan(filter, &mut cursor, 1, |topic, _| reported.push(topic.to_string())) == Scan::More {}
        assert_eq!(reported.iter().filter(|topic| **topic == first).count(), 1, "{filter}");
    }
}

/// Also where the children are as many as are found without a table, or one more or less.
#[test]
fn every_child_of_every_family_is_found() {
    for hasher in hashers([4, 5]) {
        for size in 1..40 {
            let mut store = RetainedStore::with_hasher(hasher);
            store.shrink_to_fit();
            let empty = store.memory();
            for child in 0..size {
                store.insert(&format!("w/{child}/x"), child).unwrap();
            }
            let nodes = store.memory().node_count;
            for child in 0..size {
                store.insert(&format!("w/{child}/y"), child).unwrap();
                let mut hits = 0;
                let filter = format!("w/{child}/+");
                assert_eq!(
                    store.scan(&filter, &mut Cursor::new(), 9, |_, value| hits += 1 + value - child),
                    Scan::Done
                );
                assert_eq!(hits, 2, "{child} of {size}");
            }
            assert_eq!(store.memory().node_count, nodes + size);
            // One goes and its gap is taken; then all go, and leave nothing.
            for letter in ["x", "y"] {
                store.remove(&format!("w/0/{letter}")).unwrap();
            }
            store.insert("w/new/x", 0).unwrap();
            store.remove("w/new/x").unwrap();
            for child in 1..size {
                for letter in ["x", "y"] {
                    assert_eq!(store.remove(&format!("w/{child}/{letter}")), Some(child));
                }
            }
            store.shrink_to_fit();
            assert_eq!(store.memory(), empty, "{size}");
        }
    }
}

/// A cache of results is good as long as the generation stays, so none may come back.
#[test]
fn no_generation_comes_twice() {
    let mut trie = SubscriptionTrie::new(Seed::default());
    let mut seen = BTreeSet::from([trie.generation()]);
    for value in 0..3 {
        assert_eq!(trie.insert("a/+", 1, value), Ok(None));
        assert!(seen.insert(trie.generation()));
        *trie.get_mut("a/+", 1).unwrap() += 1;
        assert!(seen.insert(trie.generation()));
        assert_eq!(trie.insert("a/b", 1, value), Ok(None));
        assert!(seen.insert(trie.generation()));
        assert_eq!(trie.remove("a/b", 1), Some(value));
        assert!(seen.insert(trie.generation()));
        assert_eq!(trie.remove("a/+", 1), Some(value + 1));
        assert!(seen.insert(trie.generation()));
    }
}

/// Buffers that are warm from a narrow search are widened by the next one.
#[test]
fn one_scratch_serves_searches_of_all_widths() {
    let mut trie = SubscriptionTrie::new(Seed::default());
    let branches =
        |bits: u32| -> Vec<&str> { (0..3).map(|bit| if bits >> bit & 1 == 0 { "x" } else { "+" }).collect() };
    // Below the name of the tree: so many ways of three levels.
    for ways in 1..=8 {
        for bits in 0..ways {
            trie.insert(&format!("{ways}/{}/+", branches(bits).join("/")), bits, ()).unwrap();
            trie.insert(&format!("{ways}/{}/x", branches(bits).join("/")), bits, ()).unwrap();
        }
    }
    let mut scratch = Scratch::new();
    for ways in (1..=8).chain((1..=8).rev()) {
        let mut found = 0;
        trie.matches(&format!("{ways}/x/x/x/x"), &mut scratch, |_, ()| found += 1);
        assert_eq!(found, 2 * ways);
    }
}

/// `#` over a store that is mostly vacant costs what is there, not what was there.
#[test]
fn a_scan_of_all_costs_no_more_than_the_live_topics() {
    let mut store = RetainedStore::new(Seed::default());
    for topic in 0..2000 {
        store.insert(&format!("{}/{topic}", topic / 20), topic).unwrap();
    }
    let calls = |store: &RetainedStore<i32>| {
        let (mut cursor, mut calls, mut hits) = (Cursor::new(), 1, 0);
        while store.scan("#", &mut cursor, 10, |_, _| hits += 1) == Scan::More {
            calls += 1;
        }
        assert_eq!(hits, store.len());
        calls
    };
    assert!((200..230).contains(&calls(&store)));
    for topic in 0..1900 {
        store.remove(&format!("{}/{topic}", topic / 20)).unwrap();
    }
    assert!(calls(&store) < 30, "{}", calls(&store));
}
